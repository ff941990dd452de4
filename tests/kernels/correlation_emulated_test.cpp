// The CUDA kernels' own source, run on the CPU (emulated_cuda.h), against the definition.

#include "tests/kernels/emulated_cuda.h"
// After the emulation, whose types it needs.
#include "kernels/correlation_plain.cuh"
#include "kernels/correlation_tensor_cores.cuh"
#include "tests/kernels/definition.h"

namespace {

template <typename T>
std::vector<T> rounded(const std::vector<float>& values) {
  std::vector<T> result(values.size());
  for (size_t i = 0; i < values.size(); ++i) flow::assign(result[i], values[i]);
  return result;
}

// 16-byte aligned, or with `shift` one element off, as a slice of a larger tensor may be.
template <typename T>
struct Tensor {
  Tensor(const std::vector<float>& values, int shift) : memory(values.size() + 32) {
    auto start = (reinterpret_cast<uintptr_t>(memory.data()) + 15) / 16 * 16;
    data = reinterpret_cast<T*>(start) + shift;
    const std::vector<T> numbers = rounded<T>(values);
    std::copy(numbers.begin(), numbers.end(), data);
  }
  std::vector<T> memory;
  T* data;
};

template <typename T>
double tolerance() {
  return sizeof(T) == 4 ? 1e-5 : std::is_same<T, __half>::value ? 5e-4 : 4e-3;
}

struct Expected {
  std::vector<double> out, grad1, grad2;
};

template <typename T>
Expected expected(const FlowCorrelation& a, const Tensor<T>& f1, const Tensor<T>& f2,
                  const Tensor<T>& grad) {
  const int count = 2 * (a.max_displacement / a.stride_2) + 1;
  const size_t pixels = static_cast<size_t>(a.batch) * a.height * a.width;
  Expected e = {std::vector<double>(pixels * count * count),
                std::vector<double>(pixels * a.channels), std::vector<double>(pixels * a.channels)};
  products(a, [&](size_t k, size_t i, size_t j) {
    const double x = flow::to_float(f1.data[i]), y = flow::to_float(f2.data[j]);
    const double g = flow::to_float(grad.data[k]);
    e.out[k] += x * y / a.channels;
    e.grad1[i] += g * y / a.channels;
    e.grad2[j] += g * x / a.channels;
  });
  return e;
}

int failures = 0;

template <typename T>
void compare(const char* what, const FlowCorrelation& a, const T* found,
             const std::vector<double>& expected) {
  double worst = 0;
  bool ok = true;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::fabs(flow::to_float(found[i]) - expected[i]);
    ok &= difference < tolerance<T>() * (1 + std::fabs(expected[i]));  // false for NaN
    worst = std::fmax(worst, difference);
  }
  std::printf("%s, %dx%dx%dx%d, displacement %d/%d: largest difference %.2e %s\n", what, a.batch,
              a.channels, a.height, a.width, a.max_displacement, a.stride_2, worst,
              ok ? "ok" : "FAILED");
  failures += !ok;
}

int blocks(int size, int block) { return (size + block - 1) / block; }

template <typename T>
struct Case {
  Case(const FlowCorrelation& args, int shift)
      : a(args),
        count(2 * (a.max_displacement / a.stride_2) + 1),
        pixels(static_cast<size_t>(a.batch) * a.height * a.width),
        f1(random_array(pixels * a.channels, 1), shift),
        f2(random_array(pixels * a.channels, 2), shift),
        grad(random_array(pixels * count * count, 3), shift),
        out(std::vector<float>(pixels * count * count, NAN), shift),
        grad1(std::vector<float>(pixels * a.channels, NAN), shift),
        grad2(std::vector<float>(pixels * a.channels, NAN), shift),
        truth(expected(a, f1, f2, grad)) {}

  FlowCorrelation a;
  int count;
  size_t pixels;
  Tensor<T> f1, f2, grad, out, grad1, grad2;
  Expected truth;
};

template <typename T, int STRIDE, int TILES>
void tensor_cores(const char* what, const FlowCorrelation& a, int steps, int shift, bool backward) {
  if (flow::tensor_tiles(a.max_displacement / STRIDE, STRIDE) > TILES || a.stride_2 != STRIDE) {
    std::printf("%s: a case that the kernel is never launched with FAILED\n", what);
    ++failures;
    return;
  }
  Case<T> c(a, shift);
  const int pairs = blocks(a.height, 2 * STRIDE) * STRIDE;
  const dim3 grid = {static_cast<unsigned>(blocks(a.width, flow::kTensorColumns)),
                     static_cast<unsigned>(pairs * blocks(c.count + 1, steps)),
                     static_cast<unsigned>(a.batch)};
  emulated::launch(grid, flow::kTensorThreads, backward, [&] {
    flow::banded_product<T, STRIDE, TILES>(c.f1.data, c.f2.data, a.channels, a.height, a.width,
                                           a.max_displacement, steps, c.out.data);
  });
  compare(what, a, c.out.data, c.truth.out);
}

template <typename T>
void plain(const char* what, const FlowCorrelation& a, int chunk, bool backward) {
  Case<T> c(a, 0);
  const flow::PlainLayout layout(a.max_displacement, a.stride_2);
  emulated::launch({static_cast<unsigned>(blocks(a.width, layout.columns)),
                    static_cast<unsigned>(a.height), static_cast<unsigned>(a.batch * c.count)},
                   layout.quads * layout.groups, backward, [&] {
                     flow::plain_forward<T>(c.f1.data, c.f2.data, a.channels, a.height, a.width,
                                            a.max_displacement, a.stride_2, chunk, c.out.data);
                   });
  compare(what, a, c.out.data, c.truth.out);
  const dim3 grid = {static_cast<unsigned>(blocks(a.width, flow::kGradientColumns)),
                     static_cast<unsigned>(a.height),
                     static_cast<unsigned>(a.batch * blocks(a.channels, flow::kGradientChannels))};
  const int threads = flow::kGradientColumns * flow::kGradientWarps;
  emulated::launch(grid, threads, backward, [&] {
    flow::plain_gradient<T, false>(c.grad.data, c.f2.data, a.channels, a.height, a.width,
                                   a.max_displacement, a.stride_2, c.grad1.data);
  });
  compare(what, a, c.grad1.data, c.truth.grad1);
  emulated::launch(grid, threads, backward, [&] {
    flow::plain_gradient<T, true>(c.grad.data, c.f1.data, a.channels, a.height, a.width,
                                  a.max_displacement, a.stride_2, c.grad2.data);
  });
  compare(what, a, c.grad2.data, c.truth.grad2);
}

void classic(const FlowCorrelation& a) {
  Case<float> c(a, 0);
  std::vector<float> last1(c.pixels * a.channels), last2(last1.size());  // NHWC
  const size_t plane = static_cast<size_t>(a.height) * a.width;
  for (size_t i = 0; i < last1.size(); ++i) {
    const size_t n = i / a.channels / plane, pixel = i / a.channels % plane, k = i % a.channels;
    last1[i] = c.f1.data[(n * a.channels + k) * plane + pixel];
    last2[i] = c.f2.data[(n * a.channels + k) * plane + pixel];
  }
  emulated::launch({static_cast<unsigned>(a.width), static_cast<unsigned>(a.height),
                    static_cast<unsigned>(a.batch)},
                   32, false, [&] {
                     flow::classic_forward<float>(last1.data(), last2.data(), a.channels, a.height,
                                                  a.width, a.max_displacement, a.stride_2,
                                                  c.out.data);
                   });
  compare("classic", a, c.out.data, c.truth.out);
}

FlowCorrelation shape(int n, int c, int h, int w, int max_displacement, int stride) {
  return {FLOW_FLOAT16, FLOW_AUTO, 0, n, c, h, w, max_displacement, stride};
}

}  // namespace

int main() {
  // FlowNetC's displacements; more channels than a chunk, a ragged last chunk, two column blocks.
  tensor_cores<__half, 2, 5>("fp16 s2 t5", shape(1, 70, 6, 72, 20, 2), 4, 0, false);
  tensor_cores<__half, 2, 5>("fp16 s2 t5", shape(2, 33, 5, 37, 20, 2), 22, 0, true);
  tensor_cores<__half, 2, 5>("fp16 s2 t5", shape(1, 3, 43, 8, 20, 2), 7, 1, false);
  tensor_cores<__half, 2, 5>("fp16 s2 t5", shape(1, 256, 3, 16, 4, 2), 2, 0, true);
  tensor_cores<__nv_bfloat16, 2, 5>("bf16 s2 t5", shape(1, 16, 9, 24, 16, 2), 3, 0, false);
  tensor_cores<__half, 1, 4>("fp16 s1 t4", shape(1, 40, 5, 70, 4, 1), 3, 0, false);
  tensor_cores<__half, 1, 4>("fp16 s1 t4", shape(1, 8, 4, 16, 1, 1), 1, 0, true);
  tensor_cores<__nv_bfloat16, 1, 4>("bf16 s1 t4", shape(2, 9, 3, 11, 8, 1), 18, 0, true);
  tensor_cores<__half, 1, 8>("fp16 s1 t8", shape(1, 20, 3, 80, 20, 1), 42, 0, false);
  tensor_cores<__half, 1, 8>("fp16 s1 t8", shape(1, 5, 2, 9, 24, 1), 9, 1, true);

  plain<float>("fp32 plain", shape(1, 19, 7, 70, 20, 2), 16, false);
  plain<float>("fp32 plain", shape(2, 70, 5, 9, 3, 1), 7, true);
  plain<__half>("fp16 plain", shape(1, 5, 6, 13, 6, 3), 16, true);
  plain<__nv_bfloat16>("bf16 plain", shape(1, 3, 2, 65, 0, 1), 1, false);
  plain<float>("fp32 plain", shape(1, 2, 3, 90, 40, 20), 2, false);

  classic(shape(2, 45, 3, 5, 4, 2));
  return failures != 0;
}
