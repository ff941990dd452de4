// manifest.json, the contract between export and engine: engine/bundle/manifest.py.

#ifndef FLOW_ENGINE_BUNDLE_MANIFEST_H_
#define FLOW_ENGINE_BUNDLE_MANIFEST_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace flow_engine {

using Size = std::array<int64_t, 3>;  // batch, height and width

struct Profile {
  Size min, opt, max;
};

struct BundleFile {
  std::string name;
  std::string role;
  std::string precision;  // "" for a plugin
  int64_t bytes;
  std::string sha256;
  std::string tool;                // name and version of the program that wrote it
  std::string compute_capability;  // of the GPU that a plan was built for; "": not stated
};

struct Recurrence {
  int64_t iterations;
  std::string lookup;
  int64_t stride;
};

// The fields that the engine uses.
struct Manifest {
  std::string network;
  std::string precision;
  int64_t divisor;
  int64_t smallest = 1;
  Profile profile;
  std::vector<BundleFile> files;
  std::optional<double> max_epe_increase;  // of the gate
  std::optional<Recurrence> recurrence;
  std::optional<int64_t> passes;
  std::string refine;  // how the flow is refined; "": not at all

  // null: the bundle has no such file
  const BundleFile* find(const std::string& name) const;
  bool has_role(const std::string& role) const;
};

// A folder's path as Python's pathlib writes it.
std::string plain_path(const std::string& path);

// The content of a bundle's manifest.json. Throws BundleError where it cannot be read.
std::string manifest_text(const std::string& bundle);

// Throws BundleError: malformed, changed, unknown or missing keys, or values that contradict.
Manifest manifest_from(const std::string& bundle, const std::string& text);

}  // namespace flow_engine

#endif  // FLOW_ENGINE_BUNDLE_MANIFEST_H_
