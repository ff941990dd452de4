#include "backends/tensorrt/log.h"

#include <algorithm>
#include <vector>

#include "text.h"

namespace flow_engine {

void MessageLog::log(Severity severity, const char* text) noexcept {
  constexpr size_t kMost = 16;
  if (severity != Severity::kERROR && severity != Severity::kINTERNAL_ERROR) return;
  try {
    const std::lock_guard guard(lock_);
    errors_.push_back(one_line(text));
    if (errors_.size() > kMost) errors_.pop_front();
  } catch (...) {  // no memory for the text
  }
}

std::string MessageLog::take() {
  const std::lock_guard guard(lock_);
  std::vector<std::string> lines;
  for (const std::string& error : errors_) {
    if (std::find(lines.begin(), lines.end(), error) == lines.end()) lines.push_back(error);
  }
  errors_.clear();
  return lines.empty() ? "TensorRT gave no reason" : join(lines, " | ");
}

MessageLog& message_log() {
  static MessageLog* const only = new MessageLog;  // never destroyed
  return *only;
}

std::string tensorrt_version() {
  return concat(getInferLibMajorVersion(), ".", getInferLibMinorVersion(), ".",
                getInferLibPatchVersion(), ".", getInferLibBuildVersion());
}

}  // namespace flow_engine
