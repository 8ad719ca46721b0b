// Forward: softmax over own and partner's keys in one pass, with running maximum and sum (online softmax).
#include "engines.cuh"
#include "kernels.h"

namespace vision_suite {
namespace {

template <class E, int G>
struct ForwardShared {
  alignas(16) typename E::Storage q[E::kRowTile], k[E::kStages][E::kColTile], v[E::kStages][E::kColTile];
  typename E::Scratch scratch;
  typename E::real bias[E::kStages][E::kCols], readout[E::kStages][G + 1][E::kCols];
};

// One block: kRows queries of one head of one image.
template <class E, int G>
__global__ void __launch_bounds__(E::kThreads) forward_kernel(const Forward p) {
  using real = typename E::real;
  using Input = typename E::Input;
  auto& shared = shared_as<ForwardShared<E, G>>();
  const E e(&shared.scratch, p.D);
  int block = block_index();
  const int64_t first = int64_t{take(block, tiles_of(p.M, E::kRows))} * E::kRows;
  const int h = take(block, p.H), b = block, hk = h / static_cast<int>(p.H / p.Hkv);
  const int64_t other = partner_of(p, b), shift = p.N - p.M;
  // Keys beyond the last query's causal limit are not looked at.
  const int64_t keys = !p.causal ? p.N : max(int64_t{0}, min(p.N, first + E::kRows + shift));
  const int key_tiles = tiles_of(keys, E::kCols);

  load_tile<E, E::kRows>(shared.q, rows_of<Input>(p.q, b, h), p.q.n, first, p.D, [&](int64_t i) { return i < p.M; });

  const auto load = [&](int step, int stage) {
    const int64_t t = step < key_tiles ? b : other, j0 = int64_t{step % key_tiles} * E::kCols;
    const auto read = [&](int64_t j) { return key_is_read<real>(p, t, j); };
    load_tile<E, E::kCols>(shared.k[stage], rows_of<Input>(p.k, t, hk), p.k.n, j0, p.D, read);
    load_tile<E, E::kCols>(shared.v[stage], rows_of<Input>(p.v, t, hk), p.v.n, j0, p.D, read);
    fill<E, E::kCols>(shared.bias[stage], [&](int c) { return bias_of<real>(p, t, j0 + c); });
#pragma unroll
    for (int g = 0; g < G; ++g) {
      const real* column = static_cast<const real*>(p.readout) + t * p.readout_b + g;
      fill<E, E::kCols>(shared.readout[stage][g], [&](int c) {
        return g < p.G && read(j0 + c) ? column[(j0 + c) * p.readout_n] : real(0);
      });
    }
  };

  real sums[E::R][E::O], top[E::R], total[E::R], extra[E::R][G + 1];
  clear(sums);
  clear(extra);
#pragma unroll
  for (int r = 0; r < E::R; ++r) top[r] = minus_infinity<real>(), total[r] = 0;
  typename E::Kept queries;

  const auto compute = [&](int step, int stage) {
    if (step == 0) queries.load(e, shared.q);
    const int64_t j0 = int64_t{step % key_tiles} * E::kCols;
    const int columns = static_cast<int>(min(int64_t{E::kCols}, keys - j0));
    real s[E::R][E::C];
    e.scores(s, queries, shared.k[stage], columns);
    const bool hides = p.causal && j0 + columns - 1 > first + shift;
#pragma unroll
    for (int r = 0; r < E::R; ++r) {
      const int64_t limit = p.causal ? first + e.row(r) + shift - j0 : E::kCols;
      real highest = minus_infinity<real>();
#pragma unroll
      for (int c = 0; c < E::C; ++c) {
        const real bias = shared.bias[stage][e.col(c)];
        const bool seen = bias != minus_infinity<real>() && e.col(c) <= limit;
        s[r][c] = seen ? s[r][c] * static_cast<real>(p.scale) + bias : minus_infinity<real>();
        highest = largest(highest, s[r][c]);
      }
      const real before = top[r];
      top[r] = largest(before, lanes_max<E>(highest));
      const real base = top[r] == minus_infinity<real>() ? real(0) : top[r];
      const real fade = E::exp(before - base);
      real sum = 0;
#pragma unroll
      for (int c = 0; c < E::C; ++c) {
        s[r][c] = E::exp(s[r][c] - base);
        sum += s[r][c];
      }
      total[r] = total[r] * fade + sum;
#pragma unroll
      for (int o = 0; o < E::O; ++o) sums[r][o] *= fade;
#pragma unroll
      for (int g = 0; g < G; ++g) {
        real mass = 0;
#pragma unroll
        for (int c = 0; c < E::C; ++c) mass += s[r][c] * shared.readout[stage][g][e.col(c)];
        extra[r][g] = extra[r][g] * fade + mass;
      }
    }
    accumulate_visible(e, sums, s, shared.v[stage], columns, hides);
  };
  pipeline<E>(other < 0 ? key_tiles : 2 * key_tiles, load, compute);

  auto* lse = static_cast<real*>(p.lse) + (int64_t{b} * p.H + h) * p.M;
  auto* extras = static_cast<real*>(p.extra) + (int64_t{b} * p.H + h) * p.M * p.G;
#pragma unroll
  for (int r = 0; r < E::R; ++r) {
    const int64_t i = first + e.row(r);
    const real sum = lanes_sum<E>(total[r]);
    const bool empty = sum == 0;
    const real factor = empty ? real(0) : 1 / sum;
#pragma unroll
    for (int g = 0; g < G; ++g) extra[r][g] = lanes_sum<E>(extra[r][g]);
    if (i >= p.M) continue;
    if (empty) {
#pragma unroll
      for (int o = 0; o < E::O; ++o) sums[r][o] = 0;
    }
    e.store(rows_of<Input>(p.out, b, h) + i * p.out.n, sums[r], factor, p.D);
    if (e.col(0) != 0) continue;  // one of the lanes that share a row
    lse[i] = empty ? minus_infinity<real>() : top[r] + log(sum);
#pragma unroll
    for (int g = 0; g < G; ++g) {
      if (g < p.G) extras[i * p.G + g] = empty ? real(0) : extra[r][g] * factor;
    }
  }
}

}  // namespace

void cuda_forward(const Forward& p, StreamHandle stream) {
  with_engine(p, [&](auto engine) {
    using E = typename decltype(engine)::type;
    with_readouts<E>(p.G, [&](auto readouts) {
      constexpr int G = decltype(readouts)::value;
      const int64_t blocks = p.B * p.H * ceil_div(p.M, E::kRows);
      launch(forward_kernel<E, G>, blocks, E::kThreads, sizeof(ForwardShared<E, G>), p, stream);
    });
  });
}

}  // namespace vision_suite
