// Attention forward: for each head the keys and values are packed once, then blocks of rows go through scores, softmax,
// read-outs and values while they lie in the cache.

// Memory of one call, handed out piece by piece.
struct Arena {
  char* at;
  template <class T>
  T* take(int64_t count) {
    T* p = reinterpret_cast<T*>(at);
    at += round_up(count * static_cast<int64_t>(sizeof(T)), 64);
    return p;
  }
};

constexpr int64_t kPieces = 24;  // upper bound of pieces of one arena, for their rounding to 64 bytes

template <class T>
inline T* head_of(const View& v, int64_t b, int64_t h) {
  return static_cast<T*>(v.data) + b * v.b + h * v.h;
}

// Hides what a row must not see: its scores become -inf from `seen` to `columns` and where the bias says so. `factor` is what
// the scores are still to be multiplied with, the scale or, where it had to be applied, 1. Gives the largest scaled score.
template <class P>
typename P::real row_scores(
    typename P::real* s, int64_t columns, int64_t seen, typename P::real scale, const typename P::real* bias,
    typename P::real* factor) {
  using L = typename P::Lanes;
  using vec = typename P::vec;
  const vec hidden = L::set1(negative_infinity(typename P::real{})), scales = L::set1(scale);
  const bool late = bias == nullptr && scale > 0;  // then the largest stays the largest
  vec top = hidden;
  for (int64_t j = 0; j < columns; j += L::W) {
    vec x = load<L>(s + j);
    if (!late) {
      x = x * scales;
      if (bias != nullptr) {
        const vec add = load<L>(bias + j);
        x = add == hidden ? hidden : x + add;  // selected, not added: NaN - inf would stay NaN
      }
    }
    if (j + L::W > seen) {
      const auto inside = lane_numbers<L>() < static_cast<typename L::integer>(seen - j);
      x = inside ? x : hidden;
    }
    top = largest<L>(x, top);
    if (!late || j + L::W > seen) store<L>(s + j, x);
  }
  const auto most_visible = L::max(top);
  if (!late) {
    *factor = 1;
    return most_visible;
  }
  const auto highest = most_visible * scale;
  *factor = scale;
  // Large scores are rounded once, before their difference is taken, or the largest would miss itself by far.
  if (!(highest < 4096 && highest > -4096) && highest != negative_infinity(scale)) {
    for (int64_t j = 0; j < columns; j += L::W) store<L>(s + j, load<L>(s + j) * scales);
    *factor = 1;
  }
  return highest;
}

// p = exp(factor * s - shift) in place over whole vectors; their sum.
template <class P>
typename P::real row_exponentials(
    typename P::real* s, int64_t columns, typename P::real factor, typename P::real shift) {
  using L = typename P::Lanes;
  using vec = typename P::vec;
  const vec minus = L::set1(-shift), times = L::set1(factor);
  vec sum0{}, sum1{};
  int64_t j = 0;
  for (; j + 2 * L::W <= columns; j += 2 * L::W) {
    const vec a = exponential<L>(L::fma(load<L>(s + j), times, minus));
    const vec b = exponential<L>(L::fma(load<L>(s + j + L::W), times, minus));
    store<L>(s + j, a);
    store<L>(s + j + L::W, b);
    sum0 += a;
    sum1 += b;
  }
  if (j < columns) {
    const vec a = exponential<L>(L::fma(load<L>(s + j), times, minus));
    store<L>(s + j, a);
    sum0 += a;
  }
  return L::sum(sum0 + sum1);
}

// sum_j p_j readout[g][j] over the first `count` columns, for G columns of read-outs with leading dimension ld.
template <class P, int G>
void row_readouts(
    const typename P::real* p, int64_t count, const typename P::real* readout, int64_t ld, typename P::real* sums) {
  using L = typename P::Lanes;
  typename P::vec total[G] = {};
  int64_t j = 0;
  for (; j + L::W <= count; j += L::W) {
    const auto x = load<L>(p + j);
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g) total[g] = L::fma(x, load<L>(readout + g * ld + j), total[g]);
  }
  if (j < count) {  // beyond a causal limit a read-out may be NaN
    const auto inside = lane_numbers<L>() < static_cast<typename L::integer>(count - j);
    const auto x = load<L>(p + j);
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g) {
      total[g] = L::fma(x, inside ? load<L>(readout + g * ld + j) : typename P::vec{}, total[g]);
    }
  }
#pragma GCC unroll 4
  for (int g = 0; g < G; ++g) sums[g] += L::sum(total[g]);
}

template <class P>
void all_readouts(
    const typename P::real* p, int64_t count, const typename P::real* readout, int64_t ld, int64_t G,
    typename P::real* sums) {
  int64_t g = 0;
  for (; g + 4 <= G; g += 4) row_readouts<P, 4>(p, count, readout + g * ld, ld, sums + g);
  for (; g + 2 <= G; g += 2) row_readouts<P, 2>(p, count, readout + g * ld, ld, sums + g);
  for (; g < G; ++g) row_readouts<P, 1>(p, count, readout + g * ld, ld, sums + g);
}

// y += factor * x, n numbers.
template <class P>
void add_scaled(typename P::real* y, const typename P::real* x, int64_t n, typename P::real factor) {
  using L = typename P::Lanes;
  const auto times = L::set1(factor);
  int64_t j = 0;
  for (; j + L::W <= n; j += L::W) store<L>(y + j, L::fma(load<L>(x + j), times, load<L>(y + j)));
  for (; j < n; ++j) y[j] += x[j] * factor;
}

// Some keys of one image, packed.
template <class P>
struct Segment {
  int64_t image, head, first, count, padded, column;  // column: where its scores start in a row
  typename P::word *keys, *values;
  typename P::real *bias, *readout;  // bias null if there is none; readout [G][padded]
  bool finite;                       // no NaN or inf among the values
};

template <class P>
void copy_bias(const Attention& a, Segment<P>& s, typename P::real* to) {
  s.bias = nullptr;
  if (a.bias == nullptr) return;
  s.bias = to;
  const auto* from = static_cast<const typename P::real*>(a.bias) + s.image * a.bias_b + s.first;
  for (int64_t j = 0; j < s.count; ++j) to[j] = from[j];
  for (int64_t j = s.count; j < s.padded; ++j) to[j] = 0;
}

template <class P>
void copy_readout(const Attention& a, Segment<P>& s) {
  const auto* from = static_cast<const typename P::real*>(a.readout) + s.image * a.readout_b + s.first * a.readout_n;
  for (int64_t g = 0; g < a.G; ++g) {
    for (int64_t j = 0; j < s.padded; ++j) {
      s.readout[g * s.padded + j] = j < s.count && visible(s.bias, j) ? from[j * a.readout_n + g] : 0;
    }
  }
}

// Row i sees the first so many keys of a segment.
inline int64_t visible_keys(const Attention& a, int64_t i, int64_t first, int64_t count) {
  return a.causal ? most(0, least(count, i + a.N - a.M + 1 - first)) : count;
}

template <class P>
struct ForwardPass {
  using L = typename P::Lanes;
  using In = typename P::In;
  using real = typename P::real;
  using word = typename P::word;
  static constexpr int64_t kRows = P::native ? 32 : 4 * L::MR;

  const Forward& p;
  const int64_t K, width, block;  // words along D, padded D, keys taken at once
  const int64_t columns;          // padded columns of a row of scores
  const bool online;
  word *query, *tile, *line, *weights;
  real *scores, *out, *state_max, *state_sum, *state_out, *state_extra;
  Segment<P> segments[2];
  int64_t packed_image = -1, packed_head = -1;

  static int64_t joint_columns(const Forward& p) {
    return round_up(p.N, P::keys) * (p.partner != nullptr ? 2 : 1);
  }

  explicit ForwardPass(const Forward& params)
      : p(params), K(P::words(p.D)), width(round_up(p.D, L::W)),
        block(joint_columns(p) > kJointKeys ? kKeyBlock : round_up(p.N, P::keys)),
        columns(joint_columns(p) > kJointKeys ? kKeyBlock : joint_columns(p)),
        online(joint_columns(p) > kJointKeys) {
    const int64_t kinds = online || p.partner == nullptr ? 1 : 2, rows = online ? p.M : 0;
    const int64_t ld = round_up(K, L::W), pairs = P::words(block);
    const int64_t each = block * (K + 1 + p.G) * 2 + pairs * width;
    const int64_t elements = kRows * (K + 2 * columns + width) + L::W * ld + width + kinds * each +
                             rows * (2 + width + p.G);
    Arena arena{thread_scratch((elements + kPieces * 64) * sizeof(real))};
    query = arena.take<word>(kRows * K);
    tile = arena.take<word>(L::W * ld);
    line = arena.take<word>(width);
    scores = arena.take<real>(kRows * columns);
    weights = P::native ? arena.take<word>(kRows * columns / 2) : reinterpret_cast<word*>(scores);
    out = arena.take<real>(kRows * width);
    for (int64_t s = 0; s < kinds; ++s) {
      segments[s].keys = arena.take<word>(block * K);
      segments[s].values = arena.take<word>(pairs * width);
      segments[s].bias = arena.take<real>(block);
      segments[s].readout = arena.take<real>(block * p.G);
      biases[s] = segments[s].bias;
    }
    state_max = arena.take<real>(rows);
    state_sum = arena.take<real>(rows);
    state_out = arena.take<real>(rows * width);
    state_extra = arena.take<real>(rows * p.G);
  }

  real* biases[2];

  void pack(Segment<P>& s, int64_t slot, int64_t image, int64_t head, int64_t first, int64_t count, int64_t column) {
    s.image = image, s.head = head, s.first = first, s.count = count, s.padded = round_up(count, P::keys), s.column = column;
    copy_bias(p, s, biases[slot]);
    pack_transposed<P>(head_of<In>(p.k, image, head) + first * p.k.n, p.k.n, count, p.D, s.bias, s.keys, tile);
    pack_rows<P>(head_of<In>(p.v, image, head) + first * p.v.n, p.v.n, count, p.D, s.bias, s.values, line);
    if (p.G > 0) copy_readout(p, s);
    s.finite = !p.causal || all_finite<P>(s.values, P::words(count) * width / L::W);
  }

  // One head, rows [row_begin, row_end); adds its probabilities / H to map [M, N] if that is given (not online).
  void head(int64_t b, int64_t h, int64_t row_begin, int64_t row_end, real* map) {
    const int64_t key_head = h / (p.H / p.Hkv);
    const int64_t partner = p.partner == nullptr ? -1 : p.partner[b];
    const int64_t sources = partner < 0 ? 1 : 2;
    if (!online) {
      if (packed_image != b || packed_head != key_head) {
        for (int64_t s = 0; s < sources; ++s) {
          pack(segments[s], s, s == 0 ? b : partner, key_head, 0, p.N, s * round_up(p.N, P::keys));
        }
        packed_image = b, packed_head = key_head;
      }
      for (int64_t i = row_begin; i < row_end; i += kRows) {
        rows(b, h, i, least(kRows, row_end - i), sources, true, true, map);
      }
      return;
    }
    for (int64_t s = 0; s < sources; ++s) {
      for (int64_t first = 0; first < p.N; first += block) {
        pack(segments[0], 0, s == 0 ? b : partner, key_head, first, least(block, p.N - first), 0);
        const bool start = s == 0 && first == 0, end = s + 1 == sources && first + block >= p.N;
        for (int64_t i = row_begin; i < row_end; i += kRows) {
          rows(b, h, i, least(kRows, row_end - i), 1, start, end, nullptr);
        }
      }
    }
  }

  // Rows of one head lie far apart, which the processor's own prefetching does not follow: asks for those of the next
  // head, a few between two rows of work.
  void fetch_next(int64_t b, int64_t h, int64_t i) const {
    const int64_t image = h + 1 < p.H ? b : b + 1, next = h + 1 < p.H ? h + 1 : 0;
    if (image == p.B) return;
    const int64_t key_head = next / (p.H / p.Hkv), bytes = p.D * static_cast<int64_t>(sizeof(In));
    const auto fetch = [&](const In* row) {
      for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(reinterpret_cast<const char*>(row) + at, 0, 2);
    };
    fetch(head_of<In>(p.q, image, next) + i * p.q.n);
    for (int64_t j = i * p.N / p.M; j < (i + 1) * p.N / p.M; ++j) {
      fetch(head_of<In>(p.k, image, key_head) + j * p.k.n);
      fetch(head_of<In>(p.v, image, key_head) + j * p.v.n);
    }
  }

  // A block of rows against the packed segments. start, end: whether these are the first and the last keys.
  void rows(int64_t b, int64_t h, int64_t i0, int64_t n, int64_t sources, bool start, bool end, real* map) {
    const auto* q = head_of<In>(p.q, b, h) + i0 * p.q.n;
    for (int64_t r = 0; r < n; ++r) P::read_padded(q + r * p.q.n, p.D, K, query + r * K);
    for (int64_t s = 0; s < sources; ++s) {
      const auto& seg = segments[s];
      gemm<P>(round_up(n, P::rows), reach(seg, i0 + n - 1), seg.padded, K, query, K, 1, seg.keys, scores + seg.column, columns, false);
    }
    real shift[kRows], sum[kRows], extra[kRows][kMaxReadouts];
    for (int64_t r = 0; r < n; ++r) {
      softmax(i0, r, sources, start, shift, sum, extra[r]);
      fetch_next(b, h, i0 + r);
    }
    for (int64_t s = 0; s < sources; ++s) values(segments[s], i0, n, s > 0 || !start);
    for (int64_t r = 0; r < n; ++r) {
      const int64_t i = i0 + r;
      if (online) {
        state_max[i] = shift[r], state_sum[i] = sum[r];
        if (!end) __builtin_memcpy(state_out + i * width, out + r * width, width * sizeof(real));
        for (int64_t g = 0; g < p.G; ++g) state_extra[i * p.G + g] = extra[r][g];
      }
      if (end) finish(b, h, i, r, shift[r], sum[r], extra[r], map);
    }
  }

  // Columns of a segment that the last row of a block may see, in whole panels.
  int64_t reach(const Segment<P>& s, int64_t last_row) const {
    return least(s.padded, round_up(visible_keys(p, last_row, s.first, s.count), L::NV * L::W));
  }

  void softmax(int64_t i0, int64_t r, int64_t sources, bool start, real* shift, real* sum, real* extra) {
    const real nothing = negative_infinity(real{});
    const int64_t i = i0 + r;
    real top = start ? nothing : state_max[i], factors[2];
    for (int64_t s = 0; s < sources; ++s) {
      const auto& seg = segments[s];
      const real highest = row_scores<P>(
          scores + r * columns + seg.column, seg.padded, visible_keys(p, i, seg.first, seg.count),
          static_cast<real>(p.scale), seg.bias, &factors[s]);
      top = highest > top ? highest : top;
    }
    const real used = top == nothing ? 0 : top;  // -inf - -inf would be NaN
    real total = 0;
    for (int64_t g = 0; g < p.G; ++g) extra[g] = 0;
    if (!start) {
      typename P::vec old = L::set1(state_max[i] - used);
      const real kept = state_max[i] == nothing ? 0 : exponential<L>(old)[0];
      total = state_sum[i] * kept;
      for (int64_t d = 0; d < width; ++d) out[r * width + d] = state_out[i * width + d] * kept;
      for (int64_t g = 0; g < p.G; ++g) extra[g] = state_extra[i * p.G + g] * kept;
    }
    for (int64_t s = 0; s < sources; ++s) {
      const auto& seg = segments[s];
      real* row = scores + r * columns + seg.column;
      total += row_exponentials<P>(row, seg.padded, factors[s], used);
      all_readouts<P>(row, visible_keys(p, i, seg.first, seg.count), seg.readout, seg.padded, p.G, extra);
      if constexpr (P::native) P::join_columns(row, seg.padded, weights + (r * columns + seg.column) / 2);
    }
    shift[r] = top, sum[r] = total;
  }

  void values(const Segment<P>& s, int64_t i0, int64_t n, bool add) {
    const int64_t ld = P::native ? columns / 2 : columns, from = P::native ? s.column / 2 : s.column;
    if (s.finite) {
      const int64_t words = P::words(s.count);
      gemm<P>(round_up(n, P::rows), width, width, words, weights + from, ld, 1, s.values, out, width, add);
      return;
    }
    for (int64_t r = 0; r < n; ++r) {
      real* to = out + r * width;
      if (!add) for (int64_t d = 0; d < width; ++d) to[d] = 0;
      add_rows<P>(
          head_of<In>(p.v, s.image, s.head) + s.first * p.v.n, p.v.n, 0, visible_keys(p, i0 + r, s.first, s.count), p.D,
          s.bias, scores + r * columns + s.column, 1, reinterpret_cast<real*>(line), to);
    }
  }

  void finish(int64_t b, int64_t h, int64_t i, int64_t r, real shift, real sum, const real* extra, real* map) {
    const real nothing = negative_infinity(real{}), inverse = sum == 0 ? 0 : 1 / sum;
    const real used = shift == nothing ? 0 : shift;
    real* row = out + r * width;
    const int64_t at = (b * p.H + h) * p.M + i;
    const auto factor = L::set1(inverse);
    for (int64_t d = 0; d < width; d += L::W) store<L>(row + d, sum == 0 ? typename P::vec{} : load<L>(row + d) * factor);
    P::write(head_of<In>(p.out, b, h) + i * p.out.n, p.D, row);
    static_cast<real*>(p.lse)[at] = sum == 0 ? nothing : used + natural_log(sum);
    for (int64_t g = 0; g < p.G; ++g) static_cast<real*>(p.extra)[at * p.G + g] = sum == 0 ? 0 : extra[g] * inverse;
    if (map == nullptr) return;
    const real share = inverse / p.H;
    const real* weight = scores + r * columns;
    add_scaled<P>(map + i * p.N, weight, p.N, share);
  }
};

template <class P>
void forward(const Forward& p, int64_t begin, int64_t end) {
  ForwardPass<P> pass(p);
  for (int64_t task = begin; task < end; ++task) pass.head(task / p.H, task % p.H, 0, p.M, nullptr);
}

template <class P>
void forward_map(const Forward& p, int64_t image, int64_t row_begin, int64_t row_end) {
  ForwardPass<P> pass(p);
  auto* map = static_cast<typename P::real*>(p.map) + image * p.M * p.N;
  for (int64_t j = row_begin * p.N; j < row_end * p.N; ++j) map[j] = 0;
  for (int64_t h = 0; h < p.H; ++h) pass.head(image, h, row_begin, row_end, map);
}
