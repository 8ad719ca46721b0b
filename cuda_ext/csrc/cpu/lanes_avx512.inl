// AVX-512: 16 lanes, 6 x 4 accumulators. Included by both files that use it, within their anonymous namespaces.

struct Lanes {
  using real = float;
  using integer = int32_t;
  using vec = __m512;
  typedef int32_t ints __attribute__((vector_size(64)));
  static constexpr int W = 16, MR = 6, NV = 4;
  static vec set1(float x) { return _mm512_set1_ps(x); }
  static vec fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
  static vec low(vec a, vec b) {
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  }
  static vec high(vec a, vec b) {
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  }
  static float sum(vec v) { return _mm512_reduce_add_ps(v); }
  static float max(vec v) { return _mm512_reduce_max_ps(v); }
  static vec scale2(vec y, vec n, vec) { return _mm512_scalef_ps(y, n); }  // subnormal results are right
  static void read_half(const uint16_t* x, int64_t n, float* y);
  static void write_half(uint16_t* y, int64_t n, const float* x);
};

#include "kernel.inl"

inline __mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>(n >= 16 ? 0xffff : (1 << n) - 1); }

void Lanes::read_half(const uint16_t* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 lanes = first_lanes(n - i);
    _mm512_mask_storeu_ps(y + i, lanes, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, x + i)));
  }
}
void Lanes::write_half(uint16_t* y, int64_t n, const float* x) {
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 lanes = first_lanes(n - i);
    const __m256i bits = _mm512_cvtps_ph(_mm512_maskz_loadu_ps(lanes, x + i), _MM_FROUND_TO_NEAREST_INT);
    _mm256_mask_storeu_epi16(y + i, lanes, bits);
  }
}
