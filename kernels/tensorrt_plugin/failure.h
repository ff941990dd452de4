// How the TensorRT plugin says what is wrong. It never throws: TensorRT calls it through noexcept
// functions.

#ifndef FLOW_KERNELS_TENSORRT_PLUGIN_FAILURE_H_
#define FLOW_KERNELS_TENSORRT_PLUGIN_FAILURE_H_

#include <NvInferRuntime.h>

#include <atomic>
#include <cstdarg>
#include <cstdint>
#include <cstdio>

#include "kernels/correlation.h"

namespace flow {

// Set by TensorRT, when it loads the library, or by the program that links it.
inline std::atomic<nvinfer1::ILoggerFinder*> logger_finder{nullptr};
inline std::atomic<nvinfer1::ILogger*> program_logger{nullptr};

// Tells the logger and, where there is one, the error recorder; returns `status`.
__attribute__((format(printf, 3, 4))) inline int32_t fail(int32_t status,
                                                          nvinfer1::IErrorRecorder* recorder,
                                                          const char* format, ...) {
  using namespace nvinfer1;
  char text[256];
  const int prefix = std::snprintf(text, sizeof text, "flow::correlation: ");
  va_list values;
  va_start(values, format);
  std::vsnprintf(text + prefix, sizeof text - prefix, format, values);
  va_end(values);
  ILoggerFinder* const finder = logger_finder.load();
  ILogger* const logger = finder == nullptr ? program_logger.load() : finder->findLogger();
  if (logger != nullptr) {
    logger->log(ILogger::Severity::kERROR, text);
  } else {
    std::fprintf(stderr, "%s\n", text);
  }
  if (recorder != nullptr) {
    const bool launched = status >= FLOW_CUDA_ERROR;
    recorder->reportError(launched ? ErrorCode::kFAILED_EXECUTION : ErrorCode::kINVALID_ARGUMENT,
                          text);
  }
  return status;
}

}  // namespace flow

#endif  // FLOW_KERNELS_TENSORRT_PLUGIN_FAILURE_H_
