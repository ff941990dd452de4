#include "checks.h"

#include <algorithm>
#include <iomanip>

#include "errors.h"
#include "system/memory.h"
#include "system/threads.h"
#include "text.h"

namespace flow_engine {
namespace {

std::string by(int64_t height, int64_t width) { return concat(height, "x", width); }

void check_stride(int64_t stride, int64_t row, const std::string& name) {
  if (stride == 0 || stride >= row) return;
  throw InputError(concat(name, ".row_stride is ", stride, "; expected at least the ", row,
                          " bytes of a row, or 0 for rows without gaps."));
}

void check_image(const FlowEngineImage& image, const std::string& name) {
  if (image.data == nullptr) {
    throw InputError(concat(name, ".data is NULL; expected the pixels of an image."));
  }
  if (image.height < 1 || image.width < 1) {
    throw InputError(
        concat(name, " is ", by(image.height, image.width), "; expected at least one pixel."));
  }
  const int channels = channels_of(image.format);
  if (channels == 0) {
    throw InputError(concat(name, ".format is ", image.format,
                            "; expected a FlowEngineFormat, for example FLOW_ENGINE_RGB8 (",
                            FLOW_ENGINE_RGB8, ")."));
  }
  check_stride(image.row_stride, channels * int64_t{image.width}, name);
}

void check_flow(const FlowEngineFlow& flow, const FlowEngineImage& image, const std::string& name) {
  if (flow.data == nullptr) {
    throw InputError(concat(name, ".data is NULL; expected memory for the flow."));
  }
  if (flow.height != image.height || flow.width != image.width) {
    throw InputError(concat(name, " is ", by(flow.height, flow.width), " and the images ",
                            by(image.height, image.width), "; expected the same size."));
  }
  constexpr auto kFloat = int64_t{sizeof(float)};
  check_stride(flow.row_stride, 2 * kFloat * flow.width, name);
  if (flow.row_stride % kFloat != 0) {
    throw InputError(
        concat(name, ".row_stride is ", flow.row_stride, "; expected a multiple of ", kFloat, "."));
  }
}

void check_same_size(const FlowEngineImage& one, const std::string& name,
                     const FlowEngineImage& other, const std::string& other_name) {
  if (one.height == other.height && one.width == other.width) return;
  throw InputError(concat(name, " is ", by(one.height, one.width), " and ", other_name, " ",
                          by(other.height, other.width),
                          "; expected the same size. Crop or resize one of them."));
}

std::string gibibytes(double bytes) {
  return concat(std::fixed, std::setprecision(1), bytes / (1 << 30), " GiB");
}

}  // namespace

Settings settings_from(const FlowEngineOptions& options) {
  const int cpus = cpu_count(), available = available_threads();
  if (options.threads < 0) {
    throw InputError(
        concat("threads is ", options.threads, "; expected a number from 1 up, or 0 for all."));
  }
  if (options.threads > cpus) {
    throw InputError(concat("threads is ", options.threads, ", but this machine has ", cpus,
                            " CPU(s); expected at most ", cpus, ", or 0 for the ", available,
                            " that the process may use."));
  }
  const int threads = options.threads == 0 ? available : options.threads;
  if (options.streams < 0) {
    throw InputError(concat("streams is ", options.streams, "; expected a number from 1 up."));
  }
  if (options.streams > threads) {
    throw InputError(concat("streams is ", options.streams, ", but there are ", threads,
                            " CPU threads to share among them; expected at most ", threads,
                            ". Ask for fewer streams, or for more threads."));
  }
  if (options.iterations < 0) {
    throw InputError(
        concat("iterations is ", options.iterations,
               "; expected a number of updates from 1 up, or 0 for the bundle's own."));
  }
  if (options.device < 0) {
    throw InputError(
        concat("device is ", options.device, "; expected the index of a GPU, 0 or more."));
  }
  const std::string refine = options.refine == nullptr ? "" : options.refine;
  if (options.refine != nullptr && refine != "variational" && refine != "none") {
    throw InputError(concat("refine is ", repr(refine),
                            "; expected 'variational' or 'none', or NULL for the bundle's own."));
  }
  Settings settings{threads, std::max(1, options.streams), options.device, {}, refine};
  if (options.iterations > 0) settings.iterations = options.iterations;
  return settings;
}

void check_iterations(const Settings& settings, const Manifest& manifest) {
  if (!settings.iterations) return;
  const int64_t iterations = *settings.iterations;
  const std::string& network = manifest.network;
  if (!manifest.recurrence && !manifest.passes) {
    throw InputError(concat("iterations is ", iterations, ", but ", network,
                            " has no repeated updates, only RAFT and coarse-to-fine networks have; "
                            "set it to 0."));
  }
  if (manifest.passes && iterations > *manifest.passes) {
    throw InputError(concat("iterations is ", iterations, "; expected at most ", *manifest.passes,
                            ", the passes that this bundle of ", network,
                            " has. For more, build one with --iterations ", iterations, "."));
  }
}

void check_pairs(const std::vector<Pair>& pairs) {
  for (size_t i = 0; i < pairs.size(); ++i) {
    const Pair& pair = pairs[i];
    const std::string index = pairs.size() == 1 ? "" : concat("[", i, "]");
    check_image(pair.first, "image1" + index);
    check_image(pair.second, "image2" + index);
    check_same_size(pair.first, "image1" + index, pair.second, "image2" + index);
    check_same_size(pairs[0].first, "image1[0]", pair.first, "image1" + index);
    check_flow(pair.flow, pair.first, "flow" + index);
  }
}

void check_profile(const Profile& profile, const std::string& network, const FlowEngineImage& image,
                   const Shape& shape) {
  const auto& [fewest, lowest, narrowest] = profile.min;
  const auto& [most, highest, widest] = profile.max;
  if (shape.batch < fewest || shape.batch > most) {
    throw InputError(concat(network, ": the batch has ", shape.batch,
                            " pairs; the plan's profile allows ", fewest, " to ", most,
                            ". Split the batch or fill it up."));
  }
  const auto check = [&](const char* word, const char* option, const Size& limit, int64_t height,
                         int64_t width) {
    if (height == limit[1] && width == limit[2]) return;
    throw InputError(concat(network, ": image is ", by(image.height, image.width), " (padded ",
                            by(shape.height, shape.width), "); the plan's profile allows ", word,
                            " ", by(limit[1], limit[2]), ". Rebuild with ", option, " ",
                            by(height, width), "."));
  };
  check("at most", "--max-size", profile.max, std::max(shape.height, highest),
        std::max(shape.width, widest));
  check("at least", "--min-size", profile.min, std::min(shape.height, lowest),
        std::min(shape.width, narrowest));
}

void check_memory(const Manifest& manifest, const Shape& shape) {
  constexpr int kLevels = 4;
  constexpr double kMostValues = 2147483647.0,
                   kBytes = 4;  // runtimes address with 32 bits; float32
  if (!manifest.recurrence || manifest.recurrence->lookup != "volume") return;
  const int64_t rows = shape.height / manifest.recurrence->stride;
  const int64_t columns = shape.width / manifest.recurrence->stride;
  int64_t levels = 1;  // a zero for what lies outside
  for (int level = 0; level < kLevels; ++level) levels += (rows >> level) * (columns >> level);
  const double values = static_cast<double>(shape.batch) * static_cast<double>(rows * columns) *
                        static_cast<double>(levels);
  const auto available = available_bytes();
  std::string limit;
  if (values > kMostValues) {
    limit = concat("runtimes take at most ", gibibytes(kMostValues * kBytes), " for it");
  } else if (available && values * kBytes > static_cast<double>(*available)) {
    limit = concat(gibibytes(static_cast<double>(*available)), " are available");
  } else {
    return;
  }
  throw InputError(concat(manifest.network, ": the correlations of ", shape.batch, " pair(s) of ",
                          by(shape.height, shape.width), " need ", gibibytes(values * kBytes),
                          " of memory; ", limit,
                          ". Use smaller images or batches, or rebuild the "
                          "bundle with --lookup on_the_fly."));
}

}  // namespace flow_engine
