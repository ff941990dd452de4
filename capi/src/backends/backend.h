// A runtime with a bundle loaded: engine/backends/base.py.

#ifndef FLOW_ENGINE_BACKENDS_BACKEND_H_
#define FLOW_ENGINE_BACKENDS_BACKEND_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "bundle/files.h"
#include "bundle/manifest.h"
#include "layout.h"

namespace flow_engine {

class Backend {
 public:
  virtual ~Backend() = default;

  // Computes the flow of padded images; thread-safe. first, second: (batch, height, width, 3) RGB.
  // flow: called once with the result, (batch, height, width, 2).
  virtual void run(const Shape& shape, uint8_t* first, uint8_t* second,
                   const std::function<void(const float*)>& flow) = 0;

  std::string device = "cpu";
  std::string runtime_version;
  std::string arithmetic;          // what it computes in, and why where that is not the precision
  std::optional<Profile> profile;  // limits of the padded sizes; none: any multiple of the divisor
};

struct Settings {
  int threads = 1;
  int streams = 1;
  int device = 0;                     // index of the GPU
  std::optional<int64_t> iterations;  // none: the bundle's own
  std::string refine;                 // "variational" or "none"; "": as the bundle says
};

// What a backend opens. The contents are those of the files that it reads.
struct Bundle {
  std::string folder;
  const Manifest& manifest;
  const Contents& contents;
};

}  // namespace flow_engine

#endif  // FLOW_ENGINE_BACKENDS_BACKEND_H_
