// The mean motion of each frame of a video, by an OpenCV loop: flow_of_video BUNDLE VIDEO|CAMERA
//
// A cv::Mat is read and written in place: BGR rows with their own stride, and CV_32FC2 for the
// flow.

#include <flow_engine.h>

#include <cstdio>
#include <cstdlib>
#include <opencv2/core.hpp>
#include <opencv2/videoio.hpp>
#include <string>

namespace {

FlowEngineImage image_of(const cv::Mat& frame) {
  return {sizeof(FlowEngineImage),          frame.data,      frame.rows, frame.cols,
          static_cast<int64_t>(frame.step), FLOW_ENGINE_BGR8};
}

FlowEngineFlow flow_of(cv::Mat& vectors) {
  return {sizeof(FlowEngineFlow), vectors.ptr<float>(), vectors.rows, vectors.cols,
          static_cast<int64_t>(vectors.step)};
}

bool open(cv::VideoCapture& capture, const std::string& source) {
  const bool is_camera = source.find_first_not_of("0123456789") == std::string::npos;
  return is_camera ? capture.open(std::atoi(source.c_str())) : capture.open(source);
}

// Prints x and y of the mean motion, in pixels.
bool run(FlowEngine* engine, cv::VideoCapture& capture) {
  cv::Mat last, frame, vectors;
  for (int index = 0; capture.read(frame); ++index) {
    if (index > 0) {
      vectors.create(frame.size(), CV_32FC2);
      const FlowEngineImage first = image_of(last), second = image_of(frame);
      const FlowEngineFlow flow = flow_of(vectors);
      if (flow_engine_infer(engine, &first, &second, &flow) != FLOW_ENGINE_OK) return false;
      const cv::Scalar mean = cv::mean(vectors);
      std::printf("%d %.3f %.3f\n", index, mean[0], mean[1]);
    }
    cv::swap(last, frame);
  }
  return true;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) {
    std::fprintf(stderr, "usage: %s BUNDLE VIDEO|CAMERA\n", arguments[0]);
    return 2;
  }
  cv::VideoCapture capture;
  if (!open(capture, arguments[2])) {
    std::fprintf(stderr, "%s cannot be opened\n", arguments[2]);
    return 2;
  }
  FlowEngine* engine = nullptr;
  const bool done =
      flow_engine_open(arguments[1], nullptr, &engine) == FLOW_ENGINE_OK && run(engine, capture);
  if (!done) std::fprintf(stderr, "%s\n", flow_engine_last_error());
  flow_engine_close(engine);
  return done ? 0 : 2;
}
