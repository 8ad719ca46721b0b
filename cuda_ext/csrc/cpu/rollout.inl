// Probabilities recomputed from the log-sum-exp: their sum weighted by rows (one step of rollout), or their mean over heads.

template <class P>
struct Probabilities {
  using L = typename P::Lanes;
  using In = typename P::In;
  using real = typename P::real;
  using word = typename P::word;
  static constexpr int64_t kRows = P::native ? 32 : 4 * L::MR;

  const Rollout& p;
  const int64_t K, columns;
  word *query, *tile, *keys;
  real *scores, *bias_buffer, *sums;
  Segment<P> segment{};

  explicit Probabilities(const Rollout& params)
      : p(params), K(P::words(p.D)), columns(round_up(p.N, P::keys)) {
    const int64_t ld = round_up(K, L::W);
    const int64_t elements = kRows * (K + columns) + L::W * ld + columns * (K + 2);
    Arena arena{thread_scratch((elements + kPieces * 64) * sizeof(real))};
    query = arena.take<word>(kRows * K);
    tile = arena.take<word>(L::W * ld);
    keys = arena.take<word>(columns * K);
    scores = arena.take<real>(kRows * columns);
    bias_buffer = arena.take<real>(columns);
    sums = arena.take<real>(columns);
  }

  void pack(int64_t b, int64_t h) {
    segment.image = b, segment.count = p.N, segment.padded = columns;
    copy_bias(p, segment, bias_buffer);
    const int64_t key_head = h / (p.H / p.Hkv);
    pack_transposed<P>(head_of<In>(p.k, b, key_head), p.k.n, p.N, p.D, segment.bias, keys, tile);
  }

  // exp(score - lse) of rows [i0, i0 + n), handed on row by row; a row without a visible key gives zeros.
  template <class Use>
  void rows(int64_t b, int64_t h, int64_t i0, int64_t n, const Use& use) {
    const auto* q = head_of<In>(p.q, b, h) + i0 * p.q.n;
    for (int64_t r = 0; r < n; ++r) P::read_padded(q + r * p.q.n, p.D, K, query + r * K);
    gemm<P>(round_up(n, P::rows), columns, columns, K, query, K, 1, keys, scores, columns, false);
    for (int64_t r = 0; r < n; ++r) {
      const real lse = static_cast<const real*>(p.lse)[(b * p.H + h) * p.M + i0 + r];
      const bool nobody = lse == negative_infinity(real{});
      real* row = scores + r * columns;
      real factor;
      row_scores<P>(
          row, columns, nobody ? 0 : visible_keys(p, i0 + r, 0, p.N), static_cast<real>(p.scale), segment.bias, &factor);
      use(i0 + r, row, L::set1(factor), L::set1(nobody ? 0 : -lse));
    }
  }

  void rollout(int64_t b, int64_t h, real* to) {
    pack(b, h);
    const real* r_in = static_cast<const real*>(p.r_in) + b * p.M;
    for (int64_t j = 0; j < columns; ++j) sums[j] = 0;
    for (int64_t i = 0; i < p.M; i += kRows) {
      const int64_t n = least(kRows, p.M - i);
      bool any = false;  // of the newest layer one row counts
      for (int64_t r = 0; r < n; ++r) any |= r_in[i + r] != 0;
      if (!any) continue;
      rows(b, h, i, n, [&](int64_t row, const real* s, typename P::vec times, typename P::vec minus) {
        const auto weight = L::set1(r_in[row]);
        for (int64_t j = 0; j < columns; j += L::W) {
          store<L>(sums + j, L::fma(weight, exponential<L>(L::fma(load<L>(s + j), times, minus)), load<L>(sums + j)));
        }
      });
    }
    for (int64_t j = 0; j < p.N; ++j) to[j] = sums[j];
  }

  void mean(int64_t b, int64_t h, int64_t row_begin, int64_t row_end) {
    pack(b, h);
    real* map = static_cast<real*>(p.map) + b * p.M * p.N;
    const real share = static_cast<real>(1) / p.H;
    for (int64_t i = row_begin; i < row_end; i += kRows) {
      rows(b, h, i, least(kRows, row_end - i), [&](int64_t row, real* s, typename P::vec times, typename P::vec minus) {
        for (int64_t j = 0; j < columns; j += L::W) store<L>(s + j, exponential<L>(L::fma(load<L>(s + j), times, minus)));
        add_scaled<P>(map + row * p.N, s, p.N, share);
      });
    }
  }
};

template <class P>
void rollout(const Rollout& p, void* heads, int64_t begin, int64_t end) {
  Probabilities<P> pass(p);
  auto* to = static_cast<typename P::real*>(heads);
  for (int64_t task = begin; task < end; ++task) pass.rollout(task / p.H, task % p.H, to + task * p.N);
}

template <class P>
void mean_map(const Rollout& p, int64_t image, int64_t row_begin, int64_t row_end) {
  Probabilities<P> pass(p);
  auto* map = static_cast<typename P::real*>(p.map) + image * p.M * p.N;
  for (int64_t j = row_begin * p.N; j < row_end * p.N; ++j) map[j] = 0;
  for (int64_t h = 0; h < p.H; ++h) pass.mean(image, h, row_begin, row_end);
}
