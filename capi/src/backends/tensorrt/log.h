// TensorRT's messages, and its version: engine/backends/tensorrt/package.py.

#ifndef FLOW_ENGINE_BACKENDS_TENSORRT_LOG_H_
#define FLOW_ENGINE_BACKENDS_TENSORRT_LOG_H_

#include <NvInferRuntime.h>

#include <deque>
#include <mutex>
#include <string>

namespace flow_engine {

// Keeps the last errors for the message that follows.
class MessageLog : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* text) noexcept override;

  // The errors since the last call, on one line.
  std::string take();

 private:
  std::mutex lock_;
  std::deque<std::string> errors_;
};

// The process's: TensorRT keeps the first logger that it is given, until it ends.
MessageLog& message_log();

// For instance "11.1.0.106".
std::string tensorrt_version();

}  // namespace flow_engine

#endif  // FLOW_ENGINE_BACKENDS_TENSORRT_LOG_H_
