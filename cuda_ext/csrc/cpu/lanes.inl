// Element types, and what is done lane by lane: loads, stores, exponential, transposition. `Lanes` is the instruction set's
// (isa_*.cpp): real, vec, ints, W lanes, MR x NV accumulators, set1, fma, low/high interleave, scale2, half conversion.

struct Bf16 { uint16_t bits; };
struct Half { uint16_t bits; };

template <class To, class From>
inline To bits_of(From x) {
  static_assert(sizeof(To) == sizeof(From), "same size");
  To y;
  __builtin_memcpy(&y, &x, sizeof(To));
  return y;
}

template <class L>
inline typename L::vec load(const void* p) {
  typename L::vec v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}

template <class L>
inline void store(void* p, typename L::vec v) {
  __builtin_memcpy(p, &v, sizeof(v));
}

template <class L>
inline typename L::vec largest(typename L::vec a, typename L::vec b) {
  return a > b ? a : b;  // a NaN never wins: it shows in the sum instead
}

// Numbers 0, 1, 2, ... in the lanes.
template <class L>
inline typename L::ints lane_numbers() {
  typename L::ints v;
  for (int i = 0; i < L::W; ++i) v[i] = i;
  return v;
}

inline float negative_infinity(float) { return -__builtin_inff(); }
inline double negative_infinity(double) { return -__builtin_inf(); }
inline float natural_log(float x) { return __builtin_logf(x); }
inline double natural_log(double x) { return __builtin_log(x); }

// exp(x) for x <= 88 or so: 2^n times a polynomial of degree 6 on [-ln2 / 2, ln2 / 2], exact scaling, 0 below -104.
template <class L>
inline typename L::vec exponential(typename L::vec x) {
  if constexpr (sizeof(typename L::real) == 8) {
    for (int i = 0; i < L::W; ++i) x[i] = __builtin_exp(x[i]);
    return x;
  } else {
    // Lanes that underflow take 0 instead: a product that ends subnormal costs a hundred cycles.
    const auto vanishes = x < L::set1(-104.0f);
    x = vanishes ? typename L::vec{} : x;
    const auto magic = L::set1(12582912.0f);  // 1.5 * 2^23 rounds to an integer
    const auto shifted = L::fma(x, L::set1(1.44269504088896341f), magic);
    const auto n = shifted - magic;
    // One step of reduction: its error n * 2e-9 grows only where the result is small.
    const auto r = L::fma(n, L::set1(-0.693147180559945309f), x);
    // Least maximal relative error of 1 + r + r^2 q(r), q of degree 4: 4e-9.
    auto y = L::set1(1.381459853e-03f);
    y = L::fma(y, r, L::set1(8.368716882e-03f));
    y = L::fma(y, r, L::set1(4.166838805e-02f));
    y = L::fma(y, r, L::set1(1.666652063e-01f));
    y = L::fma(y, r, L::set1(4.999999345e-01f));
    y = L::fma(y, r, L::set1(1.0f));
    y = L::fma(y, r, L::set1(1.0f));
    y = L::scale2(y, n, shifted);
    return vanishes ? typename L::vec{} : y;
  }
}

// Transposes W vectors of W lanes in place: log2 W rounds of interleaving rows i and i + W / 2.
template <class L>
inline void transpose(typename L::vec (&rows)[L::W]) {
  typename L::vec next[L::W];
  for (int round = 1; round < L::W; round *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < L::W / 2; ++i) {
      next[2 * i] = L::low(rows[i], rows[i + L::W / 2]);
      next[2 * i + 1] = L::high(rows[i], rows[i + L::W / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < L::W; ++i) rows[i] = next[i];
  }
}

inline uint16_t to_bf16(float x) {
  const uint32_t u = bits_of<uint32_t>(x);
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const uint32_t nan = (u >> 16) | 0x40u;
  return static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

inline float half_to_float(uint16_t bits) {
  const uint32_t sign = (bits & 0x8000u) << 16, magnitude = (bits & 0x7fffu) << 13;
  // Shifting the exponent by multiplication keeps subnormal numbers right.
  const float scaled = bits_of<float>(magnitude) * 0x1p112f;
  const uint32_t special = magnitude | 0x7f800000u;
  return bits_of<float>(sign | (magnitude >= 0x0f800000u ? special : bits_of<uint32_t>(scaled)));
}

inline uint16_t float_to_half(float x) {
  uint32_t u = bits_of<uint32_t>(x);
  const uint32_t sign = (u >> 16) & 0x8000u;
  u &= 0x7fffffffu;
  uint32_t h;
  if (u >= 0x47800000u) {  // 65536 and more
    h = u > 0x7f800000u ? 0x7e00u : 0x7c00u;
  } else if (u < 0x38800000u) {  // subnormal: the units of the last place of 0.5 are those of half precision
    h = bits_of<uint32_t>(bits_of<float>(u) + 0.5f) - bits_of<uint32_t>(0.5f);
  } else {
    h = (u - 0x38000000u + 0xfffu + ((u >> 13) & 1u)) >> 13;
  }
  return static_cast<uint16_t>(sign | h);
}

// Rows of D elements of any type to and from the type that is computed in.
template <class L>
inline void read_row(const float* x, int64_t n, float* y) {
  int64_t i = 0;
  for (; i + L::W <= n; i += L::W) store<L>(y + i, load<L>(x + i));
  for (; i < n; ++i) y[i] = x[i];
}
template <class L>
inline void read_row(const double* x, int64_t n, double* y) { __builtin_memcpy(y, x, n * sizeof(double)); }
template <class L>
inline void read_row(const Bf16* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = bits_of<float>(static_cast<uint32_t>(x[i].bits) << 16);
}
template <class L>
inline void read_row(const Half* x, int64_t n, float* y) { L::read_half(&x->bits, n, y); }

template <class L>
inline void write_row(float* y, int64_t n, const float* x) { read_row<L>(x, n, y); }
template <class L>
inline void write_row(double* y, int64_t n, const double* x) { __builtin_memcpy(y, x, n * sizeof(double)); }
template <class L>
inline void write_row(Bf16* y, int64_t n, const float* x) {
  for (int64_t i = 0; i < n; ++i) y[i].bits = to_bf16(x[i]);
}
template <class L>
inline void write_row(Half* y, int64_t n, const float* x) { L::write_half(&y->bits, n, x); }
