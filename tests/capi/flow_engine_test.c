/* The interface from C: flow_engine_test BUNDLE. Two threads share an engine; a batch has the flow
 * of its first pair; wrong arguments are refused. */

#include "flow_engine.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kHeight = 60, kWidth = 80, kPairs = 2, kTurns = 3 };

static int failures = 0;

static void expect(int holds, const char* what) {
  if (holds) return;
  ++failures;
  printf("FAILED: %s (%s)\n", what, flow_engine_last_error());
}

static uint8_t* pixels(unsigned seed) {
  uint8_t* const data = malloc(kHeight * kWidth * 3);
  for (int i = 0; i < kHeight * kWidth * 3; ++i) {
    seed = seed * 1664525u + 1013904223u;
    data[i] = (uint8_t)(seed >> 24);
  }
  return data;
}

static FlowEngineImage image_of(const uint8_t* data) {
  const FlowEngineImage image = {sizeof image, data, kHeight, kWidth, 0, FLOW_ENGINE_BGR8};
  return image;
}

static FlowEngineFlow flow_of(float* data) {
  const FlowEngineFlow flow = {sizeof flow, data, kHeight, kWidth, 0};
  return flow;
}

enum { kFlowBytes = kHeight * kWidth * 2 * sizeof(float) };

typedef struct Work {
  FlowEngine* engine;
  FlowEngineImage images[2];
  const float* expected;
  int differs;
} Work;

static void* infer_often(void* argument) {
  Work* const work = argument;
  float* const data = malloc(kFlowBytes);
  const FlowEngineFlow flow = flow_of(data);
  for (int turn = 0; turn < kTurns; ++turn) {
    work->differs |= flow_engine_infer(work->engine, &work->images[0], &work->images[1], &flow) !=
                         FLOW_ENGINE_OK ||
                     memcmp(data, work->expected, kFlowBytes) != 0;
  }
  free(data);
  return NULL;
}

static void test_threads(FlowEngine* engine, const FlowEngineImage* images, const float* expected) {
  Work work[2];
  pthread_t threads[2];
  for (int i = 0; i < 2; ++i) {
    const Work one = {engine, {images[0], images[1]}, expected, 0};
    work[i] = one;
    pthread_create(&threads[i], NULL, infer_often, &work[i]);
  }
  for (int i = 0; i < 2; ++i) {
    pthread_join(threads[i], NULL);
    expect(!work[i].differs, "a thread has the same flow");
  }
}

static void test_batch(FlowEngine* engine, const FlowEngineImage* images, const float* expected) {
  float* const data = malloc(kPairs * kFlowBytes);
  const FlowEngineImage firsts[kPairs] = {images[0], images[1]};
  const FlowEngineImage seconds[kPairs] = {images[1], images[0]};
  const FlowEngineFlow flows[kPairs] = {flow_of(data), flow_of(data + kHeight * kWidth * 2)};
  expect(flow_engine_infer_batch(engine, kPairs, firsts, seconds, flows) == FLOW_ENGINE_OK,
         "a batch");
  double distance = 0;
  for (int i = 0; i < kHeight * kWidth * 2; ++i)
    distance += data[i] > expected[i] ? data[i] - expected[i] : expected[i] - data[i];
  expect(distance / (kHeight * kWidth) < 0.01, "the batch has the flow of its first pair");
  free(data);
}

static void test_refinement(const char* bundle, const FlowEngineImage* images,
                            const float* unrefined) {
  FlowEngineOptions options = {0};
  options.struct_size = sizeof options;
  options.refine = "variational";
  FlowEngine* engine = NULL;
  expect(flow_engine_open(bundle, &options, &engine) == FLOW_ENGINE_OK, "opens to refine");
  float* const data = malloc(kFlowBytes);
  const FlowEngineFlow flow = flow_of(data);
  expect(flow_engine_infer(engine, &images[0], &images[1], &flow) == FLOW_ENGINE_OK,
         "a refined flow");
  expect(memcmp(data, unrefined, kFlowBytes) != 0, "it is another one");
  flow_engine_close(engine);
  options.refine = "variationally";
  expect(flow_engine_open(bundle, &options, &engine) == FLOW_ENGINE_INPUT_ERROR,
         "an unknown refinement is refused");
  free(data);
}

static void test_refusals(FlowEngine* engine, const FlowEngineImage* images, float* data) {
  const FlowEngineFlow flow = flow_of(data);
  FlowEngineImage wrong = images[1];
  wrong.struct_size = 8;
  expect(flow_engine_infer(engine, &images[0], &wrong, &flow) == FLOW_ENGINE_INPUT_ERROR,
         "another version's structure is refused");
  expect(strstr(flow_engine_last_error(), "image2.struct_size is 8") != NULL, "with a message");
  expect(flow_engine_infer(engine, &images[0], NULL, &flow) == FLOW_ENGINE_INPUT_ERROR,
         "a null pointer is refused");
  expect(flow_engine_infer_batch(engine, 0, images, images, &flow) == FLOW_ENGINE_INPUT_ERROR,
         "an empty batch is refused");
}

int main(int count, char** arguments) {
  if (count != 2) {
    fprintf(stderr, "usage: %s BUNDLE\n", arguments[0]);
    return 2;
  }
  FlowEngine* engine = NULL;
  FlowEngineOptions options = {0};
  options.struct_size = sizeof options;
  options.refine = "none";
  if (flow_engine_open(arguments[1], &options, &engine) != FLOW_ENGINE_OK) {
    fprintf(stderr, "%s\n", flow_engine_last_error());
    return 1;
  }
  uint8_t* const first = pixels(1);
  uint8_t* const second = pixels(2);
  float* const data = malloc(kFlowBytes);
  const FlowEngineImage images[2] = {image_of(first), image_of(second)};
  const FlowEngineFlow flow = flow_of(data);
  expect(flow_engine_infer(engine, &images[0], &images[1], &flow) == FLOW_ENGINE_OK, "a flow");
  test_threads(engine, images, data);
  test_batch(engine, images, data);
  test_refinement(arguments[1], images, data);
  test_refusals(engine, images, data);
  flow_engine_close(engine);
  flow_engine_close(engine);
  expect(flow_engine_infer(engine, &images[0], &images[1], &flow) == FLOW_ENGINE_INPUT_ERROR,
         "a closed engine is refused");
  free(first);
  free(second);
  free(data);
  printf("%s\n", failures == 0 ? "ok" : "FAILED");
  return failures == 0 ? 0 : 1;
}
