// The plugin library of a bundle: engine/backends/tensorrt/plugins.py.

#include <stdlib.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <string>

#include "backends/tensorrt/log.h"
#include "backends/tensorrt/plan.h"
#include "errors.h"
#include "text.h"

namespace flow_engine {
namespace {

constexpr const char* kLibrary = "libflow_correlation_tensorrt.so";

// A private folder with one file, which is removed at the end.
class PrivateCopy {
 public:
  PrivateCopy(const char* name, const std::string& content) {
    std::error_code error;
    std::string folder = std::filesystem::temp_directory_path(error) / "flownet-engine-XXXXXX";
    if (error || mkdtemp(folder.data()) == nullptr) fail(name, std::strerror(errno));
    folder_ = folder;
    std::ofstream stream(path(name), std::ios::binary);
    stream << content;
    stream.close();
    if (stream) return;
    remove();
    fail(name, std::strerror(errno));
  }
  ~PrivateCopy() { remove(); }
  PrivateCopy(const PrivateCopy&) = delete;
  PrivateCopy& operator=(const PrivateCopy&) = delete;

  std::string path(const char* name) const { return folder_ / name; }

 private:
  [[noreturn]] static void fail(const char* name, const char* reason) {
    throw BackendError(concat(name, " cannot be copied to the temporary folder: ", reason,
                              ". Set TMPDIR to a folder that can be written"));
  }
  void remove() noexcept {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  std::filesystem::path folder_;
};

}  // namespace

// TensorRT loads a library from a file. It is given a copy of the bytes that were checked, because
// the bundle's file may have changed since. It keeps the library until the process ends, and
// refuses a second plugin of the same name.
void load_plugins(const Bundle& bundle) {
  static std::mutex lock;
  static std::set<std::string> loaded;  // SHA-256
  const BundleFile* const file = bundle.manifest.find(kLibrary);
  if (file == nullptr) return;
  const std::lock_guard guard(lock);
  if (loaded.count(file->sha256) != 0) return;
  const PrivateCopy copy(kLibrary, bundle.contents.at(kLibrary));
  message_log().take();
  if (getPluginRegistry()->loadLibrary(copy.path(kLibrary).c_str()) == nullptr) {
    throw BackendError(concat("tensorrt ", tensorrt_version(), " cannot load ", kLibrary, ": ",
                              message_log().take()));
  }
  loaded.insert(file->sha256);
}

}  // namespace flow_engine
