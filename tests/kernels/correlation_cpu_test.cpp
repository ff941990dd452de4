// The C interface without Python: every variant that runs here against the definition, and
// refusals.

#include <cmath>
#include <cstdio>
#include <vector>

#include "kernels/correlation.h"
#include "tests/kernels/definition.h"

namespace {

using Array = std::vector<float>;

bool close(const char* what, const FlowCorrelation& a, const Array& found,
           const std::vector<double>& expected) {
  double worst = 0;
  bool ok = true;
  for (size_t i = 0; i < found.size(); ++i) {
    const double difference = std::fabs(found[i] - expected[i]);
    ok &= difference < 1e-5;  // false for NaN
    worst = std::fmax(worst, difference);
  }
  std::printf("%s variant %d, %dx%dx%dx%d, displacement %d/%d: largest difference %.2e %s\n", what,
              a.variant, a.batch, a.channels, a.height, a.width, a.max_displacement, a.stride_2,
              worst, ok ? "ok" : "FAILED");
  return ok;
}

bool agrees(const FlowCorrelation& a) {
  const int count = 2 * (a.max_displacement / a.stride_2) + 1;
  const size_t pixels = static_cast<size_t>(a.batch) * a.height * a.width;
  const Array f1 = random_array(pixels * a.channels, 1), f2 = random_array(f1.size(), 2);
  const Array grad = random_array(pixels * count * count, 3);
  std::vector<double> out(grad.size()), grad1(f1.size()), grad2(f2.size());
  products(a, [&](size_t k, size_t i, size_t j) {
    out[k] += static_cast<double>(f1[i]) * f2[j] / a.channels;
    grad1[i] += static_cast<double>(grad[k]) * f2[j] / a.channels;
    grad2[j] += static_cast<double>(grad[k]) * f1[i] / a.channels;
  });
  Array found(grad.size(), NAN), found1(f1.size(), NAN), found2(f2.size(), NAN);
  int status = flow_correlation_cpu_forward(&a, f1.data(), f2.data(), found.data());
  if (status == FLOW_OK) {
    status = flow_correlation_cpu_backward(&a, grad.data(), f1.data(), f2.data(), found1.data(),
                                           found2.data());
  }
  if (status == FLOW_BAD_VARIANT) {
    std::printf("variant %d: not on this machine\n", a.variant);
    return true;
  }
  if (status != FLOW_OK) {
    std::printf("variant %d: %s\n", a.variant, flow_correlation_cpu_message(status));
    return false;
  }
  const bool forward = close("forward ", a, found, out);
  const bool first = close("gradient 1", a, found1, grad1);
  return close("gradient 2", a, found2, grad2) && forward && first;
}

bool refuses(int expected, const FlowCorrelation& a) {
  const int status = flow_correlation_cpu_forward(&a, nullptr, nullptr, nullptr);
  std::printf("refused: %s %s\n", flow_correlation_cpu_message(status),
              status == expected ? "ok" : "FAILED");
  return status == expected;
}

}  // namespace

int main() {
  bool ok = true;
  for (const int variant : {FLOW_AUTO, FLOW_CPU_BASELINE, FLOW_CPU_AVX2, FLOW_CPU_AVX512}) {
    ok &= agrees({FLOW_FLOAT32, variant, 2, 2, 19, 13, 37, 20, 2});
    ok &= agrees({FLOW_FLOAT32, variant, 1, 1, 5, 7, 9, 4, 1});
    ok &= agrees({FLOW_FLOAT32, variant, 0, 1, 3, 4, 70, 6, 3});
    ok &= agrees({FLOW_FLOAT32, variant, 3, 1, 1, 1, 1, 0, 1});
  }
  ok &= refuses(FLOW_BAD_SHAPE, {FLOW_FLOAT32, FLOW_AUTO, 0, 1, 0, 4, 4, 4, 2});
  ok &= refuses(FLOW_BAD_DISPLACEMENT, {FLOW_FLOAT32, FLOW_AUTO, 0, 1, 4, 4, 4, 3, 2});
  ok &= refuses(FLOW_BAD_DTYPE, {FLOW_FLOAT16, FLOW_AUTO, 0, 1, 4, 4, 4, 4, 2});
  ok &= refuses(FLOW_BAD_VARIANT, {FLOW_FLOAT32, FLOW_CUDA_PLAIN, 0, 1, 4, 4, 4, 4, 2});
  return ok ? 0 : 1;
}
