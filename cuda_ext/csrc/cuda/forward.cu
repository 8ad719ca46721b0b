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
__global__ void __launch_bounds__(E::kThreads, (blocks_at_once<E, G>(4, 3))) forward_kernel(const Forward p) {
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

  const int there = rest_of(p.M, first, E::kRows);
  const bool biased = p.bias != nullptr;
  const real scale = static_cast<real>(p.scale);
  // Where every key of a tile is there, unbiased and seen by all of the queries, nothing needs to be looked up.
  const auto plain = [&](int64_t j0) {
    return !biased && j0 + E::kCols <= keys && !(p.causal && j0 + E::kCols - 1 > first + shift);
  };

  load_tile<E, E::kRows>(
      shared.q, rows_of<Input>(p.q, b, h), p.q.n, first, there, p.D, false,
      [](int) { return true; });

  const auto load = [&](int step, int stage) {
    const bool own = step < key_tiles;
    const int64_t t = own ? b : other, j0 = int64_t{own ? step : step - key_tiles} * E::kCols;
    const int count = rest_of(p.N, j0, E::kCols);
    const auto read = [&](int x) { return key_is_read<real>(p, t, j0 + x); };
    load_tile<E, E::kCols>(shared.k[stage], rows_of<Input>(p.k, t, hk), p.k.n, j0, count, p.D, biased, read);
    load_tile<E, E::kCols>(shared.v[stage], rows_of<Input>(p.v, t, hk), p.v.n, j0, count, p.D, biased, read);
    if (!plain(j0)) fill<E, E::kCols>(shared.bias[stage], [&](int c) { return bias_of<real>(p, t, j0 + c); });
#pragma unroll
    for (int g = 0; g < G; ++g) {
      const real* column = static_cast<const real*>(p.readout) + t * p.readout_b + g;
      fill<E, E::kCols>(shared.readout[stage][g], [&](int c) {
        return g < p.G && read(c) ? column[(j0 + c) * p.readout_n] : real(0);
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
    if (e.idle(there)) return;
    if (step == 0) queries.load(e, shared.q);
    const int64_t j0 = int64_t{step < key_tiles ? step : step - key_tiles} * E::kCols;
    const int columns = rest_of(keys, j0, E::kCols);
    real s[E::R][E::C];
    e.scores(s, queries, shared.k[stage], columns);
    const bool hides = p.causal && j0 + columns - 1 > first + shift;
    const bool later = plain(j0) && scale > 0;  // the scores are multiplied by the scale on the way, not before
    if (plain(j0) && !later) {
#pragma unroll
      for (int r = 0; r < E::R; ++r) {
#pragma unroll
        for (int c = 0; c < E::C; ++c) s[r][c] *= scale;
      }
    } else if (!later) {
#pragma unroll
      for (int r = 0; r < E::R; ++r) {
        const int limit = p.causal ? limit_of(first + e.row(r) + shift - j0) : E::kCols;
#pragma unroll
        for (int c = 0; c < E::C; ++c) {
          const real bias = shared.bias[stage][e.col(c)];
          const bool seen = bias != minus_infinity<real>() && e.col(c) <= limit;
          s[r][c] = seen ? s[r][c] * scale + bias : minus_infinity<real>();
        }
      }
    }
    const real factor = later ? scale : real(1), rate = E::rate(later ? p.scale : 1.0);
#pragma unroll
    for (int r = 0; r < E::R; ++r) {
      real highest = minus_infinity<real>();
#pragma unroll
      for (int c = 0; c < E::C; ++c) highest = largest(highest, s[r][c]);
      const real before = top[r];
      top[r] = largest(before, lanes_max<E>(highest) * factor);
      const real base = top[r] == minus_infinity<real>() ? real(0) : top[r];
      real fade, sum = 0;
      if (E::exp_fits(base)) {
        const real power = E::power(base);
        fade = E::exp_fitting(E::power(before), real(1), power);
#pragma unroll
        for (int c = 0; c < E::C; ++c) s[r][c] = E::exp_fitting(s[r][c], rate, power);
      } else {
        fade = E::exp(before - base);
#pragma unroll
        for (int c = 0; c < E::C; ++c) s[r][c] = E::exp(s[r][c] * factor - base);
      }
#pragma unroll
      for (int c = 0; c < E::C; ++c) sum += s[r][c];
      total[r] = total[r] * fade + sum;
#pragma unroll
      for (int o = 0; o < E::O; ++o) sums[r][o] *= fade;
      if (G > 2) sync_warp();  // or the compiler keeps all read-out columns for the next row, in too many registers
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
