// Backward without atomics: rows, then dQ by query tile, then dK and dV by key tile (seven products instead of five, and
// the same bits every time).
#include "backward.cuh"

namespace vision_suite {
namespace {

// delta_i = <dout_i, out_i> + <dextra_i, extra_i> - dlse_i, eight lanes per row, and the log-sum-exp beside it.
template <class E>
__global__ void __launch_bounds__(E::kThreads) rows_kernel(const BackwardCall p) {
  using real = typename E::real;
  using Input = typename E::Input;
  constexpr int kLanes = 8, kChunk = 16 / sizeof(Input);
  struct alignas(16) Chunk {
    Input x[kChunk];
  };
  const int64_t index = int64_t{block_index()} * (E::kThreads / kLanes) + thread_index() / kLanes;
  const int lane = thread_index() % kLanes;
  const bool there = index < p.B * p.H * p.M;
  real sum = 0;
  if (there) {
    const int64_t i = index % p.M, h = index / p.M % p.H, b = index / p.M / p.H;
    const Input* dout = rows_of<const Input>(p.dout, b, h) + i * p.dout.n;
    const Input* out = rows_of<const Input>(p.out, b, h) + i * p.out.n;
    const bool aligned =
        p.D % kChunk == 0 && ((reinterpret_cast<uintptr_t>(dout) | reinterpret_cast<uintptr_t>(out)) & 15) == 0;
    for (int64_t d = lane * kChunk; d < p.D; d += kLanes * kChunk) {
      Chunk left, right;
      if (aligned) {
        left = *reinterpret_cast<const Chunk*>(dout + d), right = *reinterpret_cast<const Chunk*>(out + d);
      } else {
#pragma unroll
        for (int x = 0; x < kChunk; ++x) {
          left.x[x] = d + x < p.D ? dout[d + x] : Input{}, right.x[x] = d + x < p.D ? out[d + x] : Input{};
        }
      }
#pragma unroll
      for (int x = 0; x < kChunk; ++x) {
        sum += static_cast<real>(widen(left.x[x])) * static_cast<real>(widen(right.x[x]));
      }
    }
  }
  for (int mask = kLanes / 2; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
  if (!there || lane != 0) return;
  if (p.dextra != nullptr) {
    const real* dextra = static_cast<const real*>(p.dextra) + index * p.G;
    const real* extra = static_cast<const real*>(p.extra) + index * p.G;
    for (int64_t g = 0; g < p.G; ++g) sum += dextra[g] * extra[g];
  }
  if (p.dlse != nullptr) sum -= static_cast<const real*>(p.dlse)[index];
  const real lse = static_cast<const real*>(p.lse)[index];
  static_cast<Row<real>*>(p.rows)[index] = Row<real>{subtracted(lse), sum};
}

template <class E, int G>
struct QueriesShared {
  alignas(16) typename E::Storage q[E::kRowTile], dout[E::kRowTile];
  alignas(16) typename E::Storage k[E::kStages][E::kColTile], v[E::kStages][E::kColTile];
  typename E::Scratch scratch;
  typename E::real bias[E::kStages][E::kCols], readout[E::kStages][G + 1][E::kCols];
};

// dQ. One block: kRows queries of one head of image b, and the keys they attend.
template <class E, int G>
__global__ void __launch_bounds__(E::kThreads, (blocks_at_once<E, G>(3, 2))) queries_kernel(const BackwardCall p) {
  using real = typename E::real;
  using Input = typename E::Input;
  auto& shared = shared_as<QueriesShared<E, G>>();
  const E e(&shared.scratch, p.D);
  int block = block_index();
  const int64_t first = int64_t{take(block, tiles_of(p.M, E::kRows))} * E::kRows;
  const int h = take(block, p.H), b = block, hk = h / static_cast<int>(p.H / p.Hkv);
  const int64_t other = partner_of(p, b), shift = p.N - p.M, row = (b * p.H + h) * p.M;
  const Row<real>* rows = rows_at<real>(p, b, h);
  const int64_t keys = !p.causal ? p.N : max(int64_t{0}, min(p.N, first + E::kRows + shift));
  const int key_tiles = tiles_of(keys, E::kCols);
  const int there = rest_of(p.M, first, E::kRows);
  const bool biased = p.bias != nullptr, gaps = may_see_nothing(p);
  const real scale = static_cast<real>(p.scale);
  const auto plain = [&](int64_t j0) {
    return !biased && j0 + E::kCols <= keys && !(p.causal && j0 + E::kCols - 1 > first + shift);
  };
  const auto asks = [&](int x) { return sees(rows[first + x]); };
  load_tile<E, E::kRows>(shared.q, rows_of<Input>(p.q, b, h), p.q.n, first, there, p.D, gaps, asks);
  load_tile<E, E::kRows>(shared.dout, rows_of<Input>(p.dout, b, h), p.dout.n, first, there, p.D, gaps, asks);

  const auto load = [&](int step, int stage) {
    const bool own = step < key_tiles;
    const int64_t t = own ? b : other, j0 = int64_t{own ? step : step - key_tiles} * E::kCols;
    const int count = rest_of(p.N, j0, E::kCols);
    const auto read = [&](int x) { return key_is_read<real>(p, t, j0 + x); };
    load_tile<E, E::kCols>(shared.k[stage], rows_of<Input>(p.k, t, hk), p.k.n, j0, count, p.D, biased, read);
    load_tile<E, E::kCols>(shared.v[stage], rows_of<Input>(p.v, t, hk), p.v.n, j0, count, p.D, biased, read);
    if (!plain(j0)) fill<E, E::kCols>(shared.bias[stage], [&](int x) { return bias_of<real>(p, t, j0 + x); });
#pragma unroll
    for (int g = 0; g < G; ++g) {
      fill<E, E::kCols>(shared.readout[stage][g], [&](int x) { return readout_of<real>(p, t, j0 + x, g); });
    }
  };

  real dq[E::R][E::O], lse[E::R], delta[E::R], dextra[E::R][G + 1];
  clear(dq);
#pragma unroll
  for (int r = 0; r < E::R; ++r) {
    const int64_t i = first + e.row(r);
    const Row<real> own = i < p.M ? rows[i] : Row<real>{-minus_infinity<real>(), 0};
    lse[r] = own.lse, delta[r] = own.delta;
#pragma unroll
    for (int g = 0; g < G; ++g) dextra[r][g] = dextra_of<real>(p, row, i, g);
  }

  const auto compute = [&](int step, int stage) {
    if (e.idle(there)) return;
    const int64_t j0 = int64_t{step < key_tiles ? step : step - key_tiles} * E::kCols;
    const int columns = rest_of(keys, j0, E::kCols);
    const bool hides = p.causal && j0 + columns - 1 > first + shift;
    typename E::Reloaded queries, douts;
    queries.load(e, shared.q);
    douts.load(e, shared.dout);
    real s[E::R][E::C], ds[E::R][E::C];
    e.scores(s, queries, shared.k[stage], columns);
    e.scores(ds, douts, shared.v[stage], columns);
#pragma unroll
    for (int r = 0; r < E::R; ++r) {
#pragma unroll
      for (int c = 0; c < E::C; ++c) {
        ds[r][c] -= delta[r];
#pragma unroll
        for (int g = 0; g < G; ++g) ds[r][c] += dextra[r][g] * shared.readout[stage][g][e.col(c)];
      }
    }
    if (plain(j0)) {
#pragma unroll
      for (int r = 0; r < E::R; ++r) {
#pragma unroll
        for (int c = 0; c < E::C; ++c) ds[r][c] *= E::exp(s[r][c] * scale - lse[r]);
      }
    } else {
#pragma unroll
      for (int r = 0; r < E::R; ++r) {
        const int limit = p.causal ? limit_of(first + e.row(r) + shift - j0) : E::kCols;
#pragma unroll
        for (int c = 0; c < E::C; ++c) {
          const real bias = shared.bias[stage][e.col(c)];
          const bool seen = bias != minus_infinity<real>() && e.col(c) <= limit;
          const real weight = seen ? E::exp(s[r][c] * scale + bias - lse[r]) : real(0);
          ds[r][c] = weight == 0 ? real(0) : weight * ds[r][c];
        }
      }
    }
    accumulate_visible(e, dq, ds, shared.k[stage], columns, hides);
  };
  pipeline<E>(other < 0 ? key_tiles : 2 * key_tiles, load, compute);

#pragma unroll
  for (int r = 0; r < E::R; ++r) {
    const int64_t i = first + e.row(r);
    if (i < p.M) e.store(rows_of<Input>(p.dq, b, h) + i * p.dq.n, dq[r], scale, p.D);
  }
}

}  // namespace

void cuda_backward_queries(const BackwardCall& p, StreamHandle stream) {
  with_engine(p, [&](auto engine) {
    using E = typename decltype(engine)::type;
    launch(rows_kernel<E>, ceil_div(p.B * p.H * p.M, E::kThreads / 8), E::kThreads, 0, p, stream);
    with_readouts<E>(p.G, [&](auto readouts) {
      constexpr int G = decltype(readouts)::value;
      const int64_t blocks = p.B * p.H * ceil_div(p.M, E::kRows);
      launch(queries_kernel<E, G>, blocks, E::kThreads, sizeof(QueriesShared<E, G>), p, stream);
    });
  });
}

void cuda_backward(const Backward& p, void* rows, StreamHandle stream) {
  const BackwardCall call{p, rows};
  cuda_backward_queries(call, stream);
  cuda_backward_keys(call, stream);
}

}  // namespace vision_suite
