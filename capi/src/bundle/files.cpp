#include "bundle/files.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "bundle/advice.h"
#include "bundle/sha256.h"
#include "errors.h"
#include "text.h"

namespace flow_engine {
namespace {

// Reads a file in parts and returns its SHA-256; appends them to `content` where it is not null.
std::string digest_of(std::ifstream& stream, std::string* content) {
  Sha256 hash;
  std::vector<char> part(1 << 20);
  while (stream.read(part.data(), static_cast<std::streamsize>(part.size())) ||
         stream.gcount() > 0) {
    const auto size = static_cast<size_t>(stream.gcount());
    hash.update(part.data(), size);
    if (content != nullptr) content->append(part.data(), size);
  }
  return hash.hex_digest();
}

// What is wrong with a file; "": nothing.
std::string fault_of(const std::string& path, const BundleFile& file, std::string* content) {
  struct stat found;
  if (stat(path.c_str(), &found) != 0 || !S_ISREG(found.st_mode)) {
    return "is missing; the manifest lists it";
  }
  if (found.st_size != file.bytes) {
    return concat("has ", found.st_size, " bytes; the manifest says ", file.bytes, ": ",
                  found.st_size < file.bytes ? "truncated" : "changed");
  }
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return concat("cannot be read: ", std::strerror(errno));
  if (content != nullptr) content->reserve(static_cast<size_t>(file.bytes));
  const std::string digest = digest_of(stream, content);
  if (stream.bad()) return concat("cannot be read: ", std::strerror(errno));
  if (digest == file.sha256) return "";
  return concat("has SHA-256 ", digest, "; the manifest says ", file.sha256, ": changed");
}

}  // namespace

Contents verified_files(const std::string& bundle, const Manifest& manifest,
                        const std::vector<std::string>& kept) {
  Contents contents;
  for (const BundleFile& file : manifest.files) {
    const bool keep = std::find(kept.begin(), kept.end(), file.name) != kept.end();
    const std::string path = bundle + "/" + file.name;
    const std::string fault = fault_of(path, file, keep ? &contents[file.name] : nullptr);
    if (fault.empty()) continue;
    const std::string target = file.role == "plan" ? "tensorrt" : "";
    throw BundleError(concat(path, " ", fault, ". Rebuild it with `",
                             rebuild_command(bundle, manifest, target), "`."));
  }
  return contents;
}

std::string identity(const std::string& bundle) {
  struct stat found;
  if (stat((bundle + "/manifest.json").c_str(), &found) != 0) return "";
  return concat(found.st_ino, " ", found.st_mtim.tv_sec, " ", found.st_mtim.tv_nsec);
}

}  // namespace flow_engine
