// AVX2 with FMA and F16C: 8 lanes, 4 x 3 accumulators.
#include "kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")

namespace vision_suite {
namespace {

#include "reduce.inl"

struct Lanes {
  using real = float;
  using integer = int32_t;
  using vec = __m256;
  typedef int32_t ints __attribute__((vector_size(32)));
  static constexpr int W = 8, MR = 4, NV = 3;
  static vec set1(float x) { return _mm256_set1_ps(x); }
  static vec fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
  static vec low(vec a, vec b) { return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
  static vec high(vec a, vec b) { return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
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

#include "kernel.inl"

void Lanes::read_half(const uint16_t* x, int64_t n, float* y) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    __m128i bits;
    __builtin_memcpy(&bits, x + i, 16);
    store<Lanes>(y + i, _mm256_cvtph_ps(bits));
  }
  for (; i < n; ++i) y[i] = half_to_float(x[i]);
}
void Lanes::write_half(uint16_t* y, int64_t n, const float* x) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i bits = _mm256_cvtps_ph(load<Lanes>(x + i), _MM_FROUND_TO_NEAREST_INT);
    __builtin_memcpy(y + i, &bits, 16);
  }
  for (; i < n; ++i) y[i] = float_to_half(x[i]);
}

const KernelTable table{
    "avx2",
    {&KernelsOf<Wide<Lanes, float>>::table, nullptr, &KernelsOf<Wide<Lanes, Bf16>>::table,
     &KernelsOf<Wide<Lanes, Half>>::table}};

}  // namespace

const KernelTable* avx2_kernels() { return &table; }

}  // namespace vision_suite
#pragma GCC pop_options
#else
namespace vision_suite {
const KernelTable* avx2_kernels() { return nullptr; }
}  // namespace vision_suite
#endif
