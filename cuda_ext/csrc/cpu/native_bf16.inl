// What both policies for bfloat16 words share: two numbers along K in a word, the first in the low half. Included after
// lanes_avx512.inl.

struct PairedWords {
  using Lanes = vision_suite::Lanes;
  using In = Bf16;
  using real = float;
  using vec = __m512;
  using word = uint32_t;
  static constexpr bool native = true;
  static vec broadcast(word x) { return _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(x))); }
  static vec multiply_add(vec a, vec b, vec c) { return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }
  static void read_padded(const In* x, int64_t n, int64_t K, word* y) {  // K words, zeros beyond the row
    for (int64_t k = 0; k < K; k += 16) {
      const int64_t left = n - 2 * k;
      const __mmask32 halves = left >= 32 ? 0xffffffffu : left > 0 ? (1u << left) - 1 : 0u;
      _mm512_mask_storeu_epi32(y + k, first_lanes(K - k), _mm512_maskz_loadu_epi16(halves, x + 2 * k));
    }
  }
  static void write(In* y, int64_t n, const real* x) {
    for (int64_t i = 0; i < n; i += 16) {
      const __mmask16 lanes = first_lanes(n - i);
      _mm256_mask_storeu_epi16(y + i, lanes, (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(lanes, x + i)));
    }
  }
  static real rounded(real x) { return bits_of<float>(static_cast<uint32_t>(to_bf16(x)) << 16); }

  static vec times_zero(vec x) {
    const __m512i bits = _mm512_castps_si512(x);
    const vec low = _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
    const vec high = _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
    return low * 0 + high * 0;
  }

  // Two rows of n, either may be absent, into one row of words, whole vectors with zeros beyond n.
  static void join_rows(const In* a, const In* b, int64_t n, word* y) {
    const __m256i zero = _mm256_setzero_si256();
    for (int64_t i = 0; i < n; i += 16) {
      const __mmask16 lanes = first_lanes(n - i);
      const __m512i low = _mm512_cvtepu16_epi32(a == nullptr ? zero : _mm256_maskz_loadu_epi16(lanes, a + i));
      const __m512i high = _mm512_cvtepu16_epi32(b == nullptr ? zero : _mm256_maskz_loadu_epi16(lanes, b + i));
      _mm512_storeu_si512(y + i, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
  }

  // A row of floats, columns 2 j and 2 j + 1 in word j; n is a multiple of 16.
  static void join_columns(const float* x, int64_t n, word* y) {
    for (int64_t i = 0; i < n; i += 16) {
      const __m256i bits = (__m256i)_mm512_cvtneps_pbh(load<Lanes>(x + i));
      __builtin_memcpy(y + i / 2, &bits, sizeof(bits));
    }
  }

  // Rows 2 k and 2 k + 1 of n columns (a multiple of 16), either may be absent, as row k of a packed matrix of K rows.
  static void pair_rows(const float* a, const float* b, int64_t n, int64_t k, int64_t K, word* packed) {
    constexpr int64_t panel = Lanes::NV * Lanes::W;
    for (int64_t i = 0; i < n; i += 16) {
      const int64_t first = i / panel * panel;
      const __m512i low = a == nullptr ? _mm512_setzero_si512() : narrowed(a + i);
      const __m512i high = b == nullptr ? _mm512_setzero_si512() : _mm512_slli_epi32(narrowed(b + i), 16);
      _mm512_storeu_si512(packed + first * K + k * least(panel, n - first) + (i - first), _mm512_or_si512(low, high));
    }
  }

  static __m512i narrowed(const float* x) {  // 16 numbers, bfloat16 in the low halves
    return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(load<Lanes>(x)));
  }
};
