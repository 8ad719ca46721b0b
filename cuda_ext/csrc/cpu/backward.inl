// Attention backward. A pass takes queries of image c against keys of image t, with the joint lse and delta of c: first every
// image with its own keys, then, with partners, each image's keys with the queries of all that have it as partner. In either
// phase a gradient is written by one task only, so sums have one order and no two threads meet.

template <class P>
struct BackwardPass {
  using L = typename P::Lanes;
  using In = typename P::In;
  using real = typename P::real;
  using word = typename P::word;
  static constexpr int64_t kRows = P::native ? 64 : 8 * L::MR;

  const Backward& p;
  const Gradients& to;
  const int64_t K, width, columns, words;  // words along D, padded D, padded N, words along N
  word *keys_t, *values_t, *keys, *tile, *line, *query, *dout_rows, *packed, *turned,
      *weights_t, *slopes_t, *slopes;
  real *scores, *dscores, *dk, *dv, *dq, *bias_buffer, *out_row, *dout_row, *key_rows, *dk_row,
      *dv_row, *readout, *dreadout;
  const real* bias = nullptr;
  int64_t image = -1;
  bool untouched = true;  // no sum over keys has begun
  bool finite = true;

  BackwardPass(const Backward& params, const Gradients& gradients)
      : p(params), to(gradients), K(P::words(p.D)), width(round_up(p.D, L::W)), columns(round_up(p.N, P::keys)),
        words(P::words(p.N)) {
    const int64_t ld = round_up(K, L::W), row_words = P::words(kRows);
    const int64_t elements = 2 * columns * K + words * width + L::W * ld + (6 + L::W) * width + 2 * kRows * K +
                             2 * row_words * width + kRows * columns * 5 + 2 * columns * width + kRows * width +
                             columns * (1 + 2 * p.G);
    Arena arena{thread_scratch((elements + kPieces * 64) * sizeof(real))};
    keys_t = arena.take<word>(columns * K);
    values_t = arena.take<word>(columns * K);
    keys = arena.take<word>(words * width);
    tile = arena.take<word>(L::W * ld);
    line = arena.take<word>(width);
    query = arena.take<word>(kRows * K);
    dout_rows = arena.take<word>(kRows * K);
    packed = arena.take<word>(row_words * width);
    turned = P::native ? arena.take<word>(row_words * width) : nullptr;
    scores = arena.take<real>(kRows * columns);
    dscores = arena.take<real>(kRows * columns);
    if constexpr (P::native) {
      weights_t = arena.take<word>(row_words * columns);
      slopes_t = arena.take<word>(row_words * columns);
      slopes = arena.take<word>(kRows * columns / 2);
    } else {
      weights_t = scores, slopes_t = slopes = dscores;
    }
    dk = arena.take<real>(columns * width);
    dv = arena.take<real>(columns * width);
    dq = arena.take<real>(kRows * width);
    bias_buffer = arena.take<real>(columns);
    out_row = arena.take<real>(width);
    dout_row = arena.take<real>(width);
    key_rows = arena.take<real>(L::W * width);
    dk_row = arena.take<real>(width);
    dv_row = arena.take<real>(width);
    readout = arena.take<real>(columns * p.G);
    dreadout = arena.take<real>(columns * p.G);
    for (int64_t d = 0; d < width; ++d) out_row[d] = dout_row[d] = 0;
  }

  // Gradients of the keys of (t, key head) from the queries of image t itself, or of those whose partner it is.
  void key_head(int64_t t, int64_t head, bool partners) {
    const int64_t begin = partners ? p.inv_offsets[t] : 0, end = partners ? p.inv_offsets[t + 1] : 1;
    if (begin == end) return;
    pack(t, head);
    untouched = true;
    for (int64_t i = 0; i < columns * p.G; ++i) dreadout[i] = 0;
    const int64_t group = p.H / p.Hkv;
    for (int64_t entry = begin; entry < end; ++entry) {
      const int64_t c = partners ? p.inv_order[entry] : t;
      for (int64_t h = head * group; h < (head + 1) * group; ++h) {
        for (int64_t i = 0; i < p.M; i += kRows) {
          rows(c, h, i, least(kRows, p.M - i), partners);
          untouched = false;
        }
      }
    }
    for (int64_t n = 0; n < p.N; n += L::W) {
      const int64_t count = least(L::W, p.N - n);
      put_keys(to.dk, t, head, n, count, rows_of(dk, n), static_cast<real>(p.scale), partners);
      put_keys(to.dv, t, head, n, count, rows_of(dv, n), 1, partners);
      for (int64_t r = n; r < n + count; ++r) {
        for (int64_t g = 0; g < p.G && !visible(bias, r); ++g) dreadout[g * columns + r] = 0;
      }
    }
    if (p.G == 0) return;
    real* sums = static_cast<real*>(p.dreadout) + (t * p.Hkv + head) * p.N * p.G;
    for (int64_t n = 0; n < p.N; ++n) {
      for (int64_t g = 0; g < p.G; ++g) {
        const real more = dreadout[g * columns + n];
        sums[n * p.G + g] = partners ? sums[n * p.G + g] + more : more;
      }
    }
  }

  void pack(int64_t t, int64_t head) {
    image = t;
    Segment<P> s{};
    s.image = t, s.count = p.N, s.padded = columns, s.readout = readout;
    copy_bias(p, s, bias_buffer);
    bias = s.bias;
    if (p.G > 0) copy_readout(p, s);
    const auto *k = head_of<In>(p.k, t, head), *v = head_of<In>(p.v, t, head);
    pack_transposed<P>(k, p.k.n, p.N, p.D, bias, keys_t, tile);
    pack_transposed<P>(v, p.v.n, p.N, p.D, bias, values_t, tile);
    pack_rows<P>(k, p.k.n, p.N, p.D, bias, keys, line);
    finite = !p.causal || all_finite<P>(keys, words * width / L::W);
  }

  // Rows n .. n + W of sums over keys, which lie transposed if native.
  real* rows_of(real* sums, int64_t n) {
    if constexpr (!P::native) return sums + n * width;
    for (int64_t d = 0; d < width; d += L::W) {
      typename L::vec part[L::W];
#pragma GCC unroll 16
      for (int64_t i = 0; i < L::W; ++i) part[i] = load<L>(sums + (d + i) * columns + n);
      transpose<L>(part);
#pragma GCC unroll 16
      for (int64_t i = 0; i < L::W; ++i) store<L>(key_rows + i * width + d, part[i]);
    }
    return key_rows;
  }

  void put_keys(const View& view, int64_t t, int64_t head, int64_t n, int64_t count, real* x, real factor, bool add) {
    for (int64_t r = 0; r < count; ++r) {
      // 0 * NaN of a query must not reach a key that nobody sees.
      for (int64_t d = 0; d < width && !visible(bias, n + r); ++d) x[r * width + d] = 0;
      put(view, t, head, n + r, x + r * width, factor, add);
    }
  }

  // factor * x to row n of a gradient; added to what is there if add.
  void put(const View& view, int64_t b, int64_t h, int64_t n, real* x, real factor, bool add) {
    for (int64_t d = 0; d < p.D; ++d) x[d] *= factor;
    if (to.wide) {
      real* row = head_of<real>(view, b, h) + n * view.n;
      for (int64_t d = 0; d < p.D; ++d) row[d] = add ? row[d] + x[d] : x[d];
    } else {
      P::write(head_of<In>(view, b, h) + n * view.n, p.D, x);
    }
  }

  // Queries i0 .. i0 + n of head h of image c against the packed keys.
  void rows(int64_t c, int64_t h, int64_t i0, int64_t n, bool add) {
    const auto* q = head_of<In>(p.q, c, h) + i0 * p.q.n;
    const auto* dout = head_of<In>(p.dout, c, h) + i0 * p.dout.n;
    for (int64_t r = 0; r < n; ++r) {
      P::read_padded(q + r * p.q.n, p.D, K, query + r * K);
      P::read_padded(dout + r * p.dout.n, p.D, K, dout_rows + r * K);
    }
    gemm<P>(round_up(n, P::rows), columns, columns, K, query, K, 1, keys_t, scores, columns, false);
    gemm<P>(round_up(n, P::rows), columns, columns, K, dout_rows, K, 1, values_t, dscores, columns, false);
    bool rows_finite = true;
    for (int64_t r = 0; r < n; ++r) rows_finite &= slope(c, h, i0, r, dout + r * p.dout.n);
    const int64_t pairs = P::words(n), ld = P::native ? columns / 2 : columns;
    if constexpr (P::native) {
      for (int64_t k = 0; k < pairs; ++k) {
        const auto row = [&](const real* x, int64_t r) { return r < n ? x + r * columns : nullptr; };
        P::pair_rows(row(scores, 2 * k), row(scores, 2 * k + 1), columns, k, pairs, weights_t);
        P::pair_rows(row(dscores, 2 * k), row(dscores, 2 * k + 1), columns, k, pairs, slopes_t);
      }
      for (int64_t r = 0; r < n; ++r) P::join_columns(dscores + r * columns, columns, slopes + r * ld);
    }
    if (finite) {
      gemm<P>(round_up(n, P::rows), width, width, words, slopes, ld, 1, keys, dq, width, false);
    } else {
      const auto* k = head_of<In>(p.k, image, h / (p.H / p.Hkv));
      for (int64_t r = 0; r < n; ++r) {
        for (int64_t d = 0; d < width; ++d) dq[r * width + d] = 0;
        add_rows<P>(
            k, p.k.n, 0, visible_keys(p, i0 + r, 0, p.N), p.D, bias, dscores + r * columns, 1, dout_row, dq + r * width);
      }
    }
    for (int64_t r = 0; r < n; ++r) put(to.dq, c, h, i0 + r, dq + r * width, static_cast<real>(p.scale), add);
    if (p.causal && !rows_finite) return by_key(q, dout, i0, n);
    add_products(dout, p.dout.n, n, weights_t, dv);
    add_products(q, p.q.n, n, slopes_t, dk);
  }

  // sums += A^T X over a block of rows, A being the probabilities or their slopes; sums is transposed if native.
  void add_products(const In* x, int64_t stride, int64_t n, const word* a, real* sums) {
    const int64_t pairs = P::words(n);
    pack_rows<P>(x, stride, n, p.D, nullptr, packed, line);
    if constexpr (P::native) {
      transpose_packed<P>(packed, pairs, width, turned);
      gemm<P>(width, columns, columns, pairs, turned, pairs, 1, a, sums, columns, !untouched);
    } else {
      gemm<P>(p.N, width, width, pairs, a, 1, columns, packed, sums, width, !untouched);
    }
  }

  // The same, each key with the rows that see it only.
  void by_key(const In* q, const In* dout, int64_t i0, int64_t n) {
    for (int64_t i = 0; i < columns * width && untouched; ++i) dk[i] = dv[i] = 0;
    for (int64_t j = 0; j < p.N; ++j) {
      const int64_t first = most(0, least(n, j - (p.N - p.M) - i0));
      for (int64_t d = 0; d < width; ++d) dk_row[d] = dv_row[d] = 0;
      add_rows<P>(dout, p.dout.n, first, n, p.D, nullptr, scores + j, columns, dout_row, dv_row);
      add_rows<P>(q, p.q.n, first, n, p.D, nullptr, dscores + j, columns, dout_row, dk_row);
      for (int64_t d = 0; d < p.D; ++d) {
        at(dv, j, d) += dv_row[d];
        at(dk, j, d) += dk_row[d];
      }
    }
  }

  real& at(real* sums, int64_t n, int64_t d) { return P::native ? sums[d * columns + n] : sums[n * width + d]; }

  // P and dS of one row, in place of its scores and of dP. Gives whether the row's query and gradient are finite.
  bool slope(int64_t c, int64_t h, int64_t i0, int64_t r, const In* dout) {
    using vec = typename P::vec;
    const real nothing = negative_infinity(real{});
    const int64_t i = i0 + r, at = (c * p.H + h) * p.M + i, seen = visible_keys(p, i, 0, p.N);
    real *s = scores + r * columns, *ds = dscores + r * columns;
    const real lse = static_cast<const real*>(p.lse)[at];
    const auto* dextra = p.dextra == nullptr ? nullptr : static_cast<const real*>(p.dextra) + at * p.G;
    if (lse == nothing) {
      for (int64_t j = 0; j < columns; ++j) s[j] = ds[j] = 0;
      return true;
    }
    real remaining;
    row_scores<P>(s, columns, seen, static_cast<real>(p.scale), bias, &remaining);
    read_row<L>(head_of<In>(p.out, c, h) + i * p.out.n, p.D, out_row);
    read_row<L>(dout, p.D, dout_row);
    real delta = p.dlse == nullptr ? 0 : -static_cast<const real*>(p.dlse)[at], check = 0;
    vec product{};  // both rows are padded with zeros
    for (int64_t d = 0; d < width; d += L::W) product = L::fma(load<L>(dout_row + d), load<L>(out_row + d), product);
    delta += L::sum(product);
    if (p.causal) {
      for (int64_t d = 0; d < p.D; ++d) check += dout_row[d] * 0;
      read_row<L>(head_of<In>(p.q, c, h) + i * p.q.n, p.D, out_row);
      for (int64_t d = 0; d < p.D; ++d) check += out_row[d] * 0;
    }
    if (dextra != nullptr) {
      const auto* extra = static_cast<const real*>(p.extra) + at * p.G;
      for (int64_t g = 0; g < p.G; ++g) {
        delta += dextra[g] * extra[g];
        const vec factor = L::set1(dextra[g]);
        for (int64_t j = 0; j < columns; j += L::W) {
          store<L>(ds + j, L::fma(factor, load<L>(readout + g * columns + j), load<L>(ds + j)));
        }
      }
    }
    const vec minus = L::set1(-lse), times = L::set1(remaining), shift = L::set1(delta), hidden = L::set1(nothing);
    for (int64_t j = 0; j < columns; j += L::W) {
      const vec x = load<L>(s + j), weight = exponential<L>(L::fma(x, times, minus));
      store<L>(s + j, weight);
      // Selected: what a hidden key gives may be NaN.
      store<L>(ds + j, x == hidden ? vec{} : weight * (load<L>(ds + j) - shift));
    }
    if (dextra != nullptr) {
      for (int64_t g = 0; g < p.G; ++g) {
        const vec factor = L::set1(dextra[g]);
        for (int64_t j = 0; j < columns; j += L::W) {
          store<L>(dreadout + g * columns + j, L::fma(factor, load<L>(s + j), load<L>(dreadout + g * columns + j)));
        }
      }
    }
    return check == 0;
  }
};

template <class P>
void backward(const Backward& p, const Gradients& gradients, int64_t begin, int64_t end, bool partners) {
  BackwardPass<P> pass(p, gradients);
  for (int64_t task = begin; task < end; ++task) pass.key_head(task / p.Hkv, task % p.Hkv, partners);
}
