#include "system/cache.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <vector>

namespace flow_engine {
namespace {

namespace fs = std::filesystem;

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// "~" and "~/..."; the settings of containers and services do not expand it as a shell does.
fs::path expanded(const std::string& path) {
  const std::string home = variable("HOME");
  const bool is_home = path == "~" || path.rfind("~/", 0) == 0;
  return is_home && !home.empty() ? home + path.substr(1) : path;
}

fs::path base_folder() {
  if (const char* const chosen = std::getenv("FLOWNET_ENGINE_CACHE")) return expanded(chosen);
  const fs::path named = variable("XDG_CACHE_HOME");
  const fs::path base = named.is_absolute() ? named : expanded("~/.cache");
  return base.is_absolute() ? base / "flownet-engine" : "";
}

int64_t nanoseconds(const timespec& time) { return time.tv_sec * 1'000'000'000LL + time.tv_nsec; }

void make_room(const fs::path& folder) {
  constexpr uint64_t kLimit = 1 << 30;
  struct Stored {
    int64_t used;  // in nanoseconds: of the last write, or of the last access, which not all note
    uint64_t size;
    fs::path path;
  };
  std::vector<Stored> found;
  uint64_t total = 0;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    struct stat status;
    // Another process may remove it meanwhile.
    if (lstat(entry.path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    const int64_t used = std::max(nanoseconds(status.st_mtim), nanoseconds(status.st_atim));
    found.push_back({used, static_cast<uint64_t>(status.st_size), entry.path()});
    total += found.back().size;
  }
  const auto older = [](const Stored& a, const Stored& b) { return a.used < b.used; };
  std::sort(found.begin(), found.end(), older);
  for (const Stored& file : found) {
    if (total <= kLimit) return;
    if (fs::remove(file.path, error)) total -= std::min(total, file.size);
  }
}

}  // namespace

std::string cache_folder(const std::string& name) {
  const fs::path base = base_folder();
  if (base.empty()) return "";
  const fs::path folder = base / name;
  std::error_code error;
  fs::create_directories(base, error);
  if (mkdir(folder.c_str(), 0700) != 0 && !fs::is_directory(folder, error)) return "";
  if (access(folder.c_str(), W_OK) != 0) return "";
  make_room(folder);
  return folder.string();
}

}  // namespace flow_engine
