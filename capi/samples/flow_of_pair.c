/* The flow of two pictures: flow_of_pair BUNDLE FIRST.ppm SECOND.ppm OUTPUT.flo
 *
 * Pictures are binary PPM (P6, 8 bits), as `ffmpeg -i frame.png frame.ppm` writes them. The output
 * is Middlebury's format (https://vision.middlebury.edu/flow/code/flow-code/README.txt). */

#include <flow_engine.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct Picture {
  int height, width;
  uint8_t* rgb;
} Picture;

static int read_ppm(const char* path, Picture* picture) {
  FILE* const file = fopen(path, "rb");
  if (file == NULL) return 0;
  int white = 0;
  int ok = fscanf(file, "P6 %d %d %d", &picture->width, &picture->height, &white) == 3 &&
           white == 255 && fgetc(file) != EOF && picture->width > 0 && picture->width < 1 << 14 &&
           picture->height > 0 && picture->height < 1 << 14;
  if (ok) {
    const size_t size = (size_t)picture->height * picture->width * 3;
    picture->rgb = malloc(size);
    ok = picture->rgb != NULL && fread(picture->rgb, 1, size, file) == size;
  }
  fclose(file);
  return ok;
}

static int write_flo(const char* path, const float* flow, int32_t height, int32_t width) {
  FILE* const file = fopen(path, "wb");
  if (file == NULL) return 0;
  const size_t count = (size_t)height * width * 2;
  int ok = fwrite("PIEH", 4, 1, file) == 1 && fwrite(&width, 4, 1, file) == 1 &&
           fwrite(&height, 4, 1, file) == 1 && fwrite(flow, sizeof(float), count, file) == count;
  ok &= fclose(file) == 0;
  return ok;
}

static FlowEngineImage image_of(const Picture* picture) {
  const FlowEngineImage image = {sizeof image,    picture->rgb, picture->height, picture->width, 0,
                                 FLOW_ENGINE_RGB8};
  return image;
}

int main(int count, char** arguments) {
  if (count != 5) {
    fprintf(stderr, "usage: %s BUNDLE FIRST.ppm SECOND.ppm OUTPUT.flo\n", arguments[0]);
    return 2;
  }
  Picture pictures[2] = {{0, 0, NULL}, {0, 0, NULL}};
  for (int i = 0; i < 2; ++i) {
    if (read_ppm(arguments[2 + i], &pictures[i])) continue;
    fprintf(stderr, "%s cannot be read as a binary PPM of 8 bits\n", arguments[2 + i]);
    return 2;
  }
  FlowEngine* engine = NULL;
  const FlowEngineImage first = image_of(&pictures[0]), second = image_of(&pictures[1]);
  float* const vectors = calloc((size_t)first.height * first.width * 2, sizeof(float));
  const FlowEngineFlow flow = {sizeof flow, vectors, first.height, first.width, 0};
  int code = 2;
  if (flow_engine_open(arguments[1], NULL, &engine) != FLOW_ENGINE_OK ||
      flow_engine_infer(engine, &first, &second, &flow) != FLOW_ENGINE_OK) {
    fprintf(stderr, "%s\n", flow_engine_last_error());
  } else if (!write_flo(arguments[4], vectors, first.height, first.width)) {
    fprintf(stderr, "%s cannot be written\n", arguments[4]);
  } else {
    code = 0;
  }
  flow_engine_close(engine);
  free(vectors);
  free(pictures[0].rgb);
  free(pictures[1].rgb);
  return code;
}
