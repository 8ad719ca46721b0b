// Baseline: 16-byte vectors that every supported processor has (SSE2, NEON), and the only file with float64.
#include "kernel.h"

namespace vision_suite {
namespace {

#include "reduce.inl"

struct FloatLanes {
  using real = float;
  using integer = int32_t;
  typedef float vec __attribute__((vector_size(16)));
  typedef int32_t ints __attribute__((vector_size(16)));
  static constexpr int W = 4, MR = 4, NV = 2;
  static vec set1(float x) { return vec{x, x, x, x}; }
  static vec fma(vec a, vec b, vec c) { return a * b + c; }
  static vec low(vec a, vec b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
  static vec high(vec a, vec b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
  static float sum(vec v) { return lane_sum<float, W>(v); }
  static float max(vec v) { return lane_max<float, W>(v); }
  // y * 2^n in two steps, so that subnormal results are right; the low bits of `shifted` hold n.
  static vec scale2(vec y, vec, vec shifted) {
    const ints n = (ints)shifted - 0x4b400000, half = n >> 1;
    return y * (vec)((half + 127) << 23) * (vec)((n - half + 127) << 23);
  }
  static void read_half(const uint16_t* x, int64_t n, float* y);
  static void write_half(uint16_t* y, int64_t n, const float* x);
};

struct DoubleLanes {
  using real = double;
  using integer = int64_t;
  typedef double vec __attribute__((vector_size(16)));
  typedef int64_t ints __attribute__((vector_size(16)));
  static constexpr int W = 2, MR = 4, NV = 2;
  static vec set1(double x) { return vec{x, x}; }
  static vec fma(vec a, vec b, vec c) { return a * b + c; }
  static vec low(vec a, vec b) { return __builtin_shufflevector(a, b, 0, 2); }
  static vec high(vec a, vec b) { return __builtin_shufflevector(a, b, 1, 3); }
  static double sum(vec v) { return lane_sum<double, W>(v); }
  static double max(vec v) { return lane_max<double, W>(v); }
};

#include "kernel.inl"

void FloatLanes::read_half(const uint16_t* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = half_to_float(x[i]);
}
void FloatLanes::write_half(uint16_t* y, int64_t n, const float* x) {
  for (int64_t i = 0; i < n; ++i) y[i] = float_to_half(x[i]);
}

const KernelTable table{
    "scalar",
    {&KernelsOf<Wide<FloatLanes, float>>::table, &KernelsOf<Wide<DoubleLanes, double>>::table,
     &KernelsOf<Wide<FloatLanes, Bf16>>::table, &KernelsOf<Wide<FloatLanes, Half>>::table}};

}  // namespace

const KernelTable* scalar_kernels() { return &table; }

}  // namespace vision_suite
