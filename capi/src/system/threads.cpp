#include "system/threads.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

namespace flow_engine {
namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();
const char* const kRoot = "/sys/fs/cgroup";

// cpu.max of a version 2 cgroup: "max 100000" or "200000 100000".
double cpu_max(const std::string& group) {
  std::ifstream file(group + "/cpu.max");
  double granted = 0, period = 0;
  return file >> granted >> period && period > 0 ? granted / period : kNoLimit;
}

// The two files of a version 1 cgroup; -1 is no limit.
double cfs_quota(const std::string& group) {
  std::ifstream quota(group + "/cpu.cfs_quota_us"), length(group + "/cpu.cfs_period_us");
  double granted = 0, period = 0;
  return quota >> granted && length >> period && granted > 0 && period > 0 ? granted / period
                                                                           : kNoLimit;
}

// The least limit of a group and those above it, up to `tree`. In a container the path may be the
// host's; then the limit is at the mount point itself.
template <typename Limit>
double least(const std::string& tree, std::string path, Limit limit) {
  double quota = limit(tree);
  while (path.size() > 1) {
    quota = std::min(quota, limit(tree + path));
    path.resize(std::min(path.size() - 1, path.rfind('/')));
  }
  return quota;
}

// https://docs.kernel.org/admin-guide/cgroup-v2.html, .../scheduler/sched-bwc.html
double cgroup_quota() {
  std::ifstream membership("/proc/self/cgroup");
  double quota = kNoLimit;
  for (std::string line; std::getline(membership, line);) {  // number:controllers:path
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string path = line.substr(second + 1);
    if (controllers == ",,") quota = std::min(quota, least(kRoot, path, cpu_max));
    if (controllers.find(",cpu,") == std::string::npos) continue;
    quota = std::min(quota, least(std::string(kRoot) + "/cpu", path, cfs_quota));
  }
  return quota;
}

}  // namespace

int cpu_count() { return static_cast<int>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN))); }

int available_threads() {
  cpu_set_t affinity;
  const int cpus =
      sched_getaffinity(0, sizeof affinity, &affinity) == 0 ? CPU_COUNT(&affinity) : cpu_count();
  // Rounded down: the kernel suspends a process above its quota for the rest of each period.
  return std::max(1, static_cast<int>(std::min<double>(cpus, cgroup_quota())));
}

}  // namespace flow_engine
