// The product C[rows x cols] (+)= A[rows x K] B[K x cols], and the packing of B. Everything in attention is this product.
//
// A `Policy` says what is multiplied: Wide numbers of the lanes' type, or Native 32-bit words that hold two bfloat16 along K.
// B is packed in panels of NV * W columns, [K][panel width] each, the last panel narrower by whole vectors.

template <class L, class Element>
struct Wide {
  using Lanes = L;
  using In = Element;
  using real = typename L::real;
  using vec = typename L::vec;
  using word = real;
  static constexpr bool native = false;
  static constexpr int64_t rows = 1, keys = L::W;  // rows of A and C, and padded keys, are multiples of these
  static int64_t words(int64_t n) { return n; }
  static vec broadcast(word x) { return L::set1(x); }
  static vec multiply_add(vec a, vec b, vec c) { return L::fma(a, b, c); }
  static vec times_zero(vec x) { return x * 0; }
  static void read_words(const In* x, int64_t n, word* y) { read_row<L>(x, n, y); }
  static void read_padded(const In* x, int64_t n, int64_t, word* y) { read_row<L>(x, n, y); }
  static void write(In* y, int64_t n, const real* x) { write_row<L>(y, n, x); }
  static real rounded(real x) { return x; }
};

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

template <class P, int R, int V>
inline void micro(
    int64_t K, const typename P::word* a, int64_t row_stride, int64_t k_stride, const typename P::word* b,
    typename P::real* c, int64_t ldc, bool add) {
  using L = typename P::Lanes;
  using vec = typename P::vec;
  vec sum[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[r][v] = add ? load<L>(c + r * ldc + v * L::W) : vec{};
  }
  for (int64_t k = 0; k < K; ++k) {
    vec row[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) row[v] = load<L>(b + (k * V + v) * L::W);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const vec x = P::broadcast(a[r * row_stride + k * k_stride]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] = P::multiply_add(x, row[v], sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store<L>(c + r * ldc + v * L::W, sum[r][v]);
  }
}

template <class P, int R>
inline void micro_vectors(
    int64_t vectors, int64_t K, const typename P::word* a, int64_t row_stride, int64_t k_stride,
    const typename P::word* b, typename P::real* c, int64_t ldc, bool add) {
  constexpr int NV = P::Lanes::NV;
  switch (vectors) {
    case 1: return micro<P, R, 1>(K, a, row_stride, k_stride, b, c, ldc, add);
    case 2: return micro<P, R, 2>(K, a, row_stride, k_stride, b, c, ldc, add);
    case 3: if constexpr (NV >= 3) return micro<P, R, 3>(K, a, row_stride, k_stride, b, c, ldc, add); break;
    case 4: if constexpr (NV >= 4) return micro<P, R, 4>(K, a, row_stride, k_stride, b, c, ldc, add); break;
  }
}

// cols: whole vectors, at most packed_cols, which is what B was packed with. Each element is one chain of additions along K, whatever rows and cols are.
template <class P>
void gemm(
    int64_t rows, int64_t cols, int64_t packed_cols, int64_t K, const typename P::word* a, int64_t row_stride,
    int64_t k_stride, const typename P::word* b, typename P::real* c, int64_t ldc, bool add) {
  using L = typename P::Lanes;
  constexpr int64_t panel = L::NV * L::W;
  for (int64_t col = 0; col < cols; col += panel) {
    const int64_t vectors = least(L::NV, (packed_cols - col) / L::W);
    const auto* from_b = b + col * K;
    for (int64_t row = 0; row < rows; row += L::MR) {
      const auto* from = a + row * row_stride;
      auto* to = c + row * ldc + col;
      switch (least(L::MR, rows - row)) {
        case 1: micro_vectors<P, 1>(vectors, K, from, row_stride, k_stride, from_b, to, ldc, add); break;
        case 2: micro_vectors<P, 2>(vectors, K, from, row_stride, k_stride, from_b, to, ldc, add); break;
        case 3: micro_vectors<P, 3>(vectors, K, from, row_stride, k_stride, from_b, to, ldc, add); break;
        case 4: micro_vectors<P, 4>(vectors, K, from, row_stride, k_stride, from_b, to, ldc, add); break;
        case 5:
          if constexpr (L::MR > 4) micro_vectors<P, 5>(vectors, K, from, row_stride, k_stride, from_b, to, ldc, add);
          break;
        case 6:
          if constexpr (L::MR > 5) micro_vectors<P, 6>(vectors, K, from, row_stride, k_stride, from_b, to, ldc, add);
          break;
      }
    }
  }
}

// Whether row n may be read: its bias is not -inf.
template <class real>
inline bool visible(const real* bias, int64_t n) {
  return bias == nullptr || !(bias[n] == negative_infinity(real{}));
}

// B = X^T: K runs along the width D of X, columns are its rows; hidden rows and those beyond count become zero.
template <class P>
void pack_transposed(
    const typename P::In* x, int64_t stride, int64_t count, int64_t D, const typename P::real* bias,
    typename P::word* packed, typename P::word* tile) {
  using L = typename P::Lanes;
  constexpr int64_t W = L::W, panel = L::NV * L::W;
  const int64_t K = P::words(D), ld = round_up(K, W), columns = round_up(count, P::keys);
  for (int64_t n = 0; n < columns; n += W) {
    for (int64_t r = 0; r < W; ++r) {
      auto* row = tile + r * ld;
      if (n + r < count && visible(bias, n + r)) {
        P::read_padded(x + (n + r) * stride, D, K, row);
      } else {
        for (int64_t k = 0; k < K; ++k) row[k] = 0;
      }
    }
    const int64_t first = n / panel * panel, width = least(panel, columns - first);
    auto* to = packed + first * K + (n - first);
    for (int64_t k = 0; k < K; k += W) {
      typename L::vec rows[W];
#pragma GCC unroll 16
      for (int64_t r = 0; r < W; ++r) rows[r] = load<L>(tile + r * ld + k);
      transpose<L>(rows);
      for (int64_t i = 0; i < least(W, K - k); ++i) store<L>(to + (k + i) * width, rows[i]);
    }
  }
}

// B = X: K runs along the rows of X (in pairs for Native), columns are its width, padded with zeros.
template <class P>
void pack_rows(
    const typename P::In* x, int64_t stride, int64_t count, int64_t D, const typename P::real* bias,
    typename P::word* packed, typename P::word* line) {
  using L = typename P::Lanes;
  constexpr int64_t panel = L::NV * L::W;
  const int64_t K = P::words(count), columns = round_up(D, L::W);
  const bool direct = columns <= panel;  // a row of one panel is written in place
  for (int64_t k = 0; k < K; ++k) {
    auto* row = direct ? packed + k * columns : line;
    if constexpr (P::native) {
      P::join_rows(
          2 * k < count && visible(bias, 2 * k) ? x + 2 * k * stride : nullptr,
          2 * k + 1 < count && visible(bias, 2 * k + 1) ? x + (2 * k + 1) * stride : nullptr, D, row);
    } else {
      const bool read = visible(bias, k);
      if (read) P::read_words(x + k * stride, D, row);
      for (int64_t d = read ? D : 0; d < columns; ++d) row[d] = 0;
    }
    for (int64_t col = 0; !direct && col < columns; col += panel) {
      const int64_t width = least(panel, columns - col);
      __builtin_memcpy(packed + col * K + k * width, line + col, width * sizeof(*line));
    }
  }
}

// Whether every packed number is finite: inf * 0 and NaN * 0 are NaN.
template <class P>
inline bool all_finite(const typename P::word* packed, int64_t vectors) {
  typename P::vec sum{};
  for (int64_t i = 0; i < vectors; ++i) sum += P::times_zero(load<typename P::Lanes>(packed + i * P::Lanes::W));
  return P::Lanes::sum(sum) == 0;
}

// Packed rows the other way round, for an A of few rows: to[d][k] with leading dimension K, rows up to the padded width.
template <class P>
void transpose_packed(const typename P::word* packed, int64_t K, int64_t width, typename P::word* to) {
  using L = typename P::Lanes;
  constexpr int64_t W = L::W, panel = L::NV * L::W;
  for (int64_t d = 0; d < width; d += W) {
    const int64_t first = d / panel * panel, part = least(panel, width - first);
    const auto* from = packed + first * K + (d - first);
    for (int64_t k = 0; k < K; k += W) {
      typename L::vec rows[W];
#pragma GCC unroll 16
      for (int64_t r = 0; r < W; ++r) rows[r] = k + r < K ? load<L>(from + (k + r) * part) : typename L::vec{};
      transpose<L>(rows);
      for (int64_t r = 0; r < W; ++r) {
        if (k + W <= K) {
          store<L>(to + (d + r) * K + k, rows[r]);
        } else {
          __builtin_memcpy(to + (d + r) * K + k, &rows[r], (K - k) * sizeof(*to));
        }
      }
    }
  }
}

// sums[0 .. D) += sum of weights[j * step] * row j of x, over visible rows begin .. end. Slow, for what the products above
// cannot do: with 0 * NaN being NaN, rows that a causal limit hides must not take part at all.
template <class P>
void add_rows(
    const typename P::In* x, int64_t stride, int64_t begin, int64_t end, int64_t D, const typename P::real* bias,
    const typename P::real* weights, int64_t step, typename P::real* line, typename P::real* sums) {
  for (int64_t j = begin; j < end; ++j) {
    if (!visible(bias, j)) continue;
    read_row<typename P::Lanes>(x + j * stride, D, line);
    const auto weight = P::rounded(weights[j * step]);
    for (int64_t d = 0; d < D; ++d) sums[d] += weight * line[d];
  }
}
