// Rollout of one layer, the map of head means, and sums over heads: everything that needs probabilities but no values.
#include "engines.cuh"
#include "kernels.h"

namespace vision_suite {
namespace {

struct RolloutCall : Rollout {
  void* partial;        // [groups, B, N]
  int groups, per;  // heads of group g: [g per, min(H, (g + 1) per))
};

template <class E>
struct RolloutShared {
  alignas(16) typename E::Storage k[E::kStages][E::kRowTile], q[E::kStages][E::kColTile];
  typename E::Scratch scratch;
  typename E::real lse[E::kStages][E::kCols], weight[E::kStages][E::kCols];
};

// One block: kRows keys of one image, for one group of heads. Scores are transposed (rows are keys), so that a key's sum
// over queries stays with its thread.
template <class E>
__global__ void __launch_bounds__(E::kThreads) rollout_kernel(const RolloutCall p) {
  using real = typename E::real;
  using Input = typename E::Input;
  auto& shared = shared_as<RolloutShared<E>>();
  const E e(&shared.scratch, p.D);
  int block = block_index();
  const int64_t first = int64_t{take(block, tiles_of(p.N, E::kRows))} * E::kRows;
  const int g = take(block, p.groups), b = block, head0 = g * p.per, group = static_cast<int>(p.H / p.Hkv);
  const int heads = min(p.per, static_cast<int>(p.H) - head0), tiles = tiles_of(p.M, E::kCols);

  const int there = rest_of(p.N, first, E::kRows);
  // Tiles within heads.
  int tile = 0, turn = 0;
  const auto load = [&](int, int stage) {
    const int64_t i0 = int64_t{tile} * E::kCols, h = head0 + turn, row = (b * p.H + h) * p.M;
    if (tile == 0) {
      const auto read = [&](int x) { return key_is_read<real>(p, b, first + x); };
      const Input* keys = rows_of<Input>(p.k, b, h / group);
      load_tile<E, E::kRows>(
          shared.k[turn % E::kStages], keys, p.k.n, first, there, p.D, p.bias != nullptr, read);
    }
    const int count = rest_of(p.M, i0, E::kCols);
    const real* lse = static_cast<const real*>(p.lse) + row + i0;
    const auto asks = [&](int x) { return lse[x] != minus_infinity<real>(); };
    load_tile<E, E::kCols>(
        shared.q[stage], rows_of<Input>(p.q, b, h), p.q.n, i0, count, p.D, p.bias != nullptr, asks);
    fill<E, E::kCols>(shared.lse[stage], [&](int x) {
      return x < count ? subtracted(lse[x]) : -minus_infinity<real>();
    });
    fill<E, E::kCols>(shared.weight[stage], [&](int x) {
      return x < count ? static_cast<const real*>(p.r_in)[b * p.M + i0 + x] : real(0);
    });
    if (++tile == tiles) tile = 0, ++turn;
  };

  real sum[E::R], bias[E::R];
  bool unseen[E::R];
#pragma unroll
  for (int r = 0; r < E::R; ++r) {
    const real given = bias_of<real>(p, b, first + e.row(r));
    unseen[r] = given == minus_infinity<real>(), sum[r] = 0, bias[r] = unseen[r] ? real(0) : given;
  }

  int computed = 0, head = 0;
  const auto compute = [&](int, int stage) {
    const int columns = rest_of(p.M, int64_t{computed} * E::kCols, E::kCols);
    const auto* tile = shared.k[head % E::kStages];
    if (++computed == tiles) computed = 0, ++head;
    if (e.idle(there)) return;
    typename E::Reloaded keys;
    keys.load(e, tile);
    real s[E::R][E::C];
    e.scores(s, keys, shared.q[stage], columns);
    // A key that nobody sees gets a sum, too, but nothing is made of it.
#pragma unroll
    for (int r = 0; r < E::R; ++r) {
#pragma unroll
      for (int c = 0; c < E::C; ++c) {
        const real chance = E::exp(s[r][c] * static_cast<real>(p.scale) + bias[r] - shared.lse[stage][e.col(c)]);
        sum[r] += shared.weight[stage][e.col(c)] * chance;
      }
    }
  };
  pipeline<E>(heads * tiles, load, compute);

#pragma unroll
  for (int r = 0; r < E::R; ++r) {
    const int64_t j = first + e.row(r);
    const real all = lanes_sum<E>(sum[r]);
    if (j >= p.N || e.col(0) != 0) continue;
    static_cast<real*>(p.partial)[(int64_t{g} * p.B + b) * p.N + j] = unseen[r] ? real(0) : all;
  }
}

// r_out = residual r_in + (1 - residual) (sum of groups) / H.
template <class real>
__global__ void __launch_bounds__(256) combine_kernel(const RolloutCall p) {
  const int64_t index = int64_t{block_index()} * 256 + thread_index(), size = p.B * p.N;
  if (index >= size) return;
  real sum = 0;
  for (int64_t g = 0; g < p.groups; ++g) sum += static_cast<const real*>(p.partial)[g * size + index];
  const real mean = p.H > 0 ? sum / static_cast<real>(p.H) : real(0);
  static_cast<real*>(p.r_out)[index] = static_cast<real>(p.residual) * static_cast<const real*>(p.r_in)[index] +
                                       static_cast<real>(1 - p.residual) * mean;
}

template <class E>
struct MapShared {
  alignas(16) typename E::Storage q[E::kStages][E::kRowTile], k[E::kStages][E::kColTile];
  typename E::Scratch scratch;
  typename E::real bias[E::kCols];
};

// One block: kRows queries by kCols keys of one image, summed over its heads.
template <class E>
__global__ void __launch_bounds__(E::kThreads) map_kernel(const Rollout p) {
  using real = typename E::real;
  using Input = typename E::Input;
  auto& shared = shared_as<MapShared<E>>();
  const E e(&shared.scratch, p.D);
  int block = block_index();
  const int64_t j0 = int64_t{take(block, tiles_of(p.N, E::kCols))} * E::kCols;
  const int64_t first = int64_t{take(block, tiles_of(p.M, E::kRows))} * E::kRows, b = block;
  const int group = static_cast<int>(p.H / p.Hkv);
  const int columns = static_cast<int>(min(int64_t{E::kCols}, p.N - j0));
  fill<E, E::kCols>(shared.bias, [&](int x) { return bias_of<real>(p, b, j0 + x); });

  const auto load = [&](int h, int stage) {
    const auto read = [&](int x) { return key_is_read<real>(p, b, j0 + x); };
    load_tile<E, E::kRows>(
        shared.q[stage], rows_of<Input>(p.q, b, h), p.q.n, first, rest_of(p.M, first, E::kRows), p.D, false,
        [](int) { return true; });
    load_tile<E, E::kCols>(
        shared.k[stage], rows_of<Input>(p.k, b, h / group), p.k.n, j0, columns, p.D, p.bias != nullptr, read);
  };

  real mean[E::R][E::C];
  clear(mean);
  const auto compute = [&](int h, int stage) {
    typename E::Reloaded queries;
    queries.load(e, shared.q[stage]);
    real s[E::R][E::C];
    e.scores(s, queries, shared.k[stage], columns);
#pragma unroll
    for (int r = 0; r < E::R; ++r) {
      const int64_t i = first + e.row(r);
      const int limit = p.causal ? limit_of(i + p.N - p.M - j0) : E::kCols;
      const real lse = i < p.M ? static_cast<const real*>(p.lse)[(b * p.H + h) * p.M + i] : minus_infinity<real>();
#pragma unroll
      for (int c = 0; c < E::C; ++c) {
        const real bias = shared.bias[e.col(c)];
        const bool seen = bias != minus_infinity<real>() && lse != minus_infinity<real>() && e.col(c) <= limit;
        mean[r][c] += seen ? E::exp(s[r][c] * static_cast<real>(p.scale) + bias - lse) : real(0);
      }
    }
  };
  pipeline<E>(static_cast<int>(p.H), load, compute);

#pragma unroll
  for (int r = 0; r < E::R; ++r) {
    const int64_t i = first + e.row(r);
#pragma unroll
    for (int c = 0; c < E::C; ++c) {
      const int64_t j = j0 + e.col(c);
      if (i < p.M && j < p.N) static_cast<real*>(p.map)[(b * p.M + i) * p.N + j] = mean[r][c] / static_cast<real>(p.H);
    }
  }
}

struct SumCall {
  const void* partial;
  void* sum;
  int64_t B, heads, size;
  bool over_images;
};

template <class real>
__global__ void __launch_bounds__(256) sum_kernel(const SumCall p) {
  const int64_t index = int64_t{block_index()} * 256 + thread_index();
  if (index >= (p.over_images ? 1 : p.B) * p.size) return;
  const int64_t b0 = p.over_images ? 0 : index / p.size, images = p.over_images ? p.B : 1, at = index % p.size;
  real sum = 0;
  for (int64_t row = b0 * p.heads; row < (b0 + images) * p.heads; ++row) {
    sum += static_cast<const real*>(p.partial)[row * p.size + at];
  }
  static_cast<real*>(p.sum)[index] = sum;
}

}  // namespace

void cuda_rollout_step(const Rollout& p, void* partial, StreamHandle stream) {
  RolloutCall call{p, partial, 0, 0};
  call.per = tiles_of(p.H, kHeadGroups);
  call.groups = p.H == 0 ? 0 : tiles_of(p.H, call.per);
  with_engine(p, [&](auto engine) {
    using E = typename decltype(engine)::type;
    const int64_t blocks = p.B * call.groups * ceil_div(p.N, E::kRows);
    launch(rollout_kernel<E>, blocks, E::kThreads, sizeof(RolloutShared<E>), call, stream);
    launch(combine_kernel<typename E::real>, ceil_div(p.B * p.N, 256), 256, 0, call, stream);
  });
}

void cuda_mean_map(const Rollout& p, StreamHandle stream) {
  with_engine(p, [&](auto engine) {
    using E = typename decltype(engine)::type;
    const int64_t blocks = p.B * ceil_div(p.M, E::kRows) * ceil_div(p.N, E::kCols);
    launch(map_kernel<E>, blocks, E::kThreads, sizeof(MapShared<E>), p, stream);
  });
}

void cuda_sum_heads(
    bool is_double, const void* partial, void* sum, int64_t B, int64_t heads, int64_t size, bool over_images,
    StreamHandle stream) {
  const SumCall call{partial, sum, B, heads, size, over_images};
  const int64_t blocks = ceil_div((over_images ? 1 : B) * size, 256);
  if (is_double) return launch(sum_kernel<double>, blocks, 256, 0, call, stream);
  launch(sum_kernel<float>, blocks, 256, 0, call, stream);
}

}  // namespace vision_suite
