#include "system/memory.h"

#include <algorithm>
#include <fstream>
#include <string>

namespace flow_engine {

std::optional<int64_t> available_bytes() {
  std::ifstream file("/proc/meminfo");
  std::optional<int64_t> available;
  for (std::string line; std::getline(file, line);) {
    constexpr const char kName[] = "MemAvailable:";
    if (line.rfind(kName, 0) == 0) available = std::stoll(line.substr(sizeof kName - 1)) * 1024;
  }
  if (!available) return available;
  std::ifstream max("/sys/fs/cgroup/memory.max"), current("/sys/fs/cgroup/memory.current");
  int64_t limit = 0, used = 0;
  if (max >> limit && current >> used) {
    // Files that nobody has read lately count as used, and the kernel drops them for an allocation.
    std::ifstream stat("/sys/fs/cgroup/memory.stat");
    int64_t droppable = 0, value = 0;
    for (std::string name; stat >> name >> value;) {
      if (name == "inactive_file") droppable = value;
    }
    available = std::min(*available, limit - used + droppable);
  }
  return std::max<int64_t>(0, *available);
}

}  // namespace flow_engine
