// dK, dV and the read-outs' gradient, after delta is there.
#include "backward.cuh"

namespace vision_suite {
namespace {

template <class E, int G>
struct KeysShared {
  alignas(16) typename E::Storage k[E::kRowTile], v[E::kRowTile];
  alignas(16) typename E::Storage q[E::kStages][E::kColTile], dout[E::kStages][E::kColTile];
  typename E::Scratch scratch;
  typename E::real lse[E::kStages][E::kCols], delta[E::kStages][E::kCols], dextra[E::kStages][G + 1][E::kCols];
};

// dK, dV and the read-outs' gradient. One block: kRows keys of one key head of image t; it goes through the queries of all
// images and heads that attend them. Scores are transposed: rows are keys, columns queries.
template <class E, int G>
__global__ void __launch_bounds__(E::kThreads) keys_kernel(const BackwardCall p) {
  using real = typename E::real;
  using Input = typename E::Input;
  auto& shared = shared_as<KeysShared<E, G>>();
  const E e(&shared.scratch, p.D);
  int block = block_index();
  const int64_t first = int64_t{take(block, tiles_of(p.N, E::kRows))} * E::kRows, shift = p.N - p.M;
  const int hk = take(block, p.Hkv), t = block, group = static_cast<int>(p.H / p.Hkv);
  const int32_t* askers = p.partner == nullptr ? nullptr : p.inv_order + p.inv_offsets[t];
  const int images = 1 + (p.partner == nullptr ? 0 : p.inv_offsets[t + 1] - p.inv_offsets[t]);
  // Queries before the first one that sees any of these keys are not looked at.
  const int skipped = p.causal ? static_cast<int>(max(int64_t{0}, min(p.M, first - shift)) / E::kCols) : 0;
  const int tiles = tiles_of(p.M, E::kCols) - skipped;
  const auto read = [&](int64_t j) { return key_is_read<real>(p, t, j); };
  load_tile<E, E::kRows>(shared.k, rows_of<Input>(p.k, t, hk), p.k.n, first, p.D, read);
  load_tile<E, E::kRows>(shared.v, rows_of<Input>(p.v, t, hk), p.v.n, first, p.D, read);

  const auto load = [&](int step, int stage) {
    int place = step;
    const int64_t i0 = int64_t{take(place, tiles) + skipped} * E::kCols, h = hk * group + take(place, group);
    const int64_t c = place == 0 ? t : askers[place - 1], row = (c * p.H + h) * p.M;
    // A query that sees nothing has no gradient, whatever it holds.
    const auto asks = [&](int64_t i) { return lse_of<real>(p, row, i) != minus_infinity<real>(); };
    load_tile<E, E::kCols>(shared.q[stage], rows_of<Input>(p.q, c, h), p.q.n, i0, p.D, asks);
    load_tile<E, E::kCols>(shared.dout[stage], rows_of<Input>(p.dout, c, h), p.dout.n, i0, p.D, asks);
    fill<E, E::kCols>(shared.lse[stage], [&](int x) { return lse_of<real>(p, row, i0 + x); });
    fill<E, E::kCols>(shared.delta[stage], [&](int x) {
      return i0 + x < p.M ? static_cast<const real*>(p.delta)[row + i0 + x] : real(0);
    });
#pragma unroll
    for (int g = 0; g < G; ++g) {
      fill<E, E::kCols>(shared.dextra[stage][g], [&](int x) { return dextra_of<real>(p, row, i0 + x, g); });
    }
  };

  real dk[E::R][E::O], dv[E::R][E::O], dreadout[E::R][G + 1], readout[E::R][G + 1], bias[E::R];
  clear(dk);
  clear(dv);
  clear(dreadout);
#pragma unroll
  for (int r = 0; r < E::R; ++r) {
    bias[r] = bias_of<real>(p, t, first + e.row(r));
#pragma unroll
    for (int g = 0; g < G; ++g) readout[r][g] = readout_of<real>(p, t, first + e.row(r), g);
  }

  const auto compute = [&](int step, int stage) {
    const int64_t i0 = int64_t{step % tiles + skipped} * E::kCols;
    const int columns = static_cast<int>(min(int64_t{E::kCols}, p.M - i0));
    const bool hides = p.causal && first + E::kRows - 1 > i0 + shift;
    typename E::Reloaded keys, values;
    keys.load(e, shared.k);
    values.load(e, shared.v);
    real s[E::R][E::C], ds[E::R][E::C];
    e.scores(s, keys, shared.q[stage], columns);
#pragma unroll
    for (int r = 0; r < E::R; ++r) {
      const int64_t least = p.causal ? first + e.row(r) - shift - i0 : 0;  // the first query that sees this key
#pragma unroll
      for (int c = 0; c < E::C; ++c) {
        const real lse = shared.lse[stage][e.col(c)];
        const bool seen = bias[r] != minus_infinity<real>() && lse != minus_infinity<real>() && e.col(c) >= least;
        s[r][c] = seen ? E::exp(s[r][c] * static_cast<real>(p.scale) + bias[r] - lse) : real(0);
      }
#pragma unroll
      for (int g = 0; g < G; ++g) {
#pragma unroll
        for (int c = 0; c < E::C; ++c) dreadout[r][g] += s[r][c] * shared.dextra[stage][g][e.col(c)];
      }
    }
    e.scores(ds, values, shared.dout[stage], columns);
    accumulate_visible(e, dv, s, shared.dout[stage], columns, hides);
#pragma unroll
    for (int r = 0; r < E::R; ++r) {
#pragma unroll
      for (int c = 0; c < E::C; ++c) {
        real dp = ds[r][c] - shared.delta[stage][e.col(c)];
#pragma unroll
        for (int g = 0; g < G; ++g) dp += readout[r][g] * shared.dextra[stage][g][e.col(c)];
        ds[r][c] = s[r][c] == 0 ? real(0) : s[r][c] * dp;
      }
    }
    accumulate_visible(e, dk, ds, shared.q[stage], columns, hides);
  };
  pipeline<E>(images * group * tiles, load, compute);

#pragma unroll
  for (int r = 0; r < E::R; ++r) {
    const int64_t j = first + e.row(r);
#pragma unroll
    for (int g = 0; g < G; ++g) dreadout[r][g] = lanes_sum<E>(dreadout[r][g]);
    if (j >= p.N) continue;
    e.store(rows_of<Input>(p.dk, t, hk) + j * p.dk.n, dk[r], static_cast<real>(p.scale), p.D);
    e.store(rows_of<Input>(p.dv, t, hk) + j * p.dv.n, dv[r], real(1), p.D);
    if (e.col(0) != 0) continue;
#pragma unroll
    for (int g = 0; g < G; ++g) {
      if (g < p.G) static_cast<real*>(p.dreadout)[((int64_t{t} * p.Hkv + hk) * p.N + j) * p.G + g] = dreadout[r][g];
    }
  }
}

}  // namespace

void cuda_backward_keys(const BackwardCall& p, StreamHandle stream) {
  with_engine(p, [&](auto engine) {
    using E = typename decltype(engine)::type;
    with_readouts<E>(p.G, [&](auto readouts) {
      constexpr int G = decltype(readouts)::value;
      const int64_t blocks = p.B * p.Hkv * ceil_div(p.N, E::kRows);
      launch(keys_kernel<E, G>, blocks, E::kThreads, sizeof(KeysShared<E, G>), p, stream);
    });
  });
}

}  // namespace vision_suite
