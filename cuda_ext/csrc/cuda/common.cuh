// What all kernels share: numbers, tiles on their way to shared memory, which key is visible, and a sum along lanes.
//
// A kernel is written once over an engine E, which owns the products of two tiles: Mma (tensor cores, half precision) or
// Simt (float and double, and what is too wide for Mma). One block works on a score tile of E::kRows x E::kCols; a thread
// holds R x C of its scores and R x O of an output tile kRows x kWidth:
//   Storage, Input, real     element in shared memory, in global memory, and of sums and statistics
//   row(r), col(c), out_col(o)            where a thread's numbers lie in the tiles
//   place(row, chunk), kChunk, kChunks    where 16 bytes of a row lie in shared memory
//   idle(count)              whether a thread's warp has none of the first `count` rows
//   kTensorCores, kAsync     which unit multiplies; whether global memory is copied to shared memory as it is
//   Kept, Reloaded           left operands: held in registers, or read again for each product
//   scores(S, left, right, columns)       S = left right^T over the head width
//   accumulate(O, S, right, columns)      O += S right; S goes through the input's precision
#pragma once

#include "../params.h"

#ifdef VISION_SUITE_EMULATE
#include "emulate.h"
#else
#include "ptx.cuh"
#endif

namespace vision_suite {

constexpr float kLog2e = 1.4426950408889634f;

template <class real>
__device__ __forceinline__ real minus_infinity() {
  return -static_cast<real>(INFINITY);
}

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ double widen(double x) { return x; }

template <class T>
struct Narrow {
  __device__ static T from(float x) { return T{static_cast<uint16_t>(pack_pair(T{}, x, 0.f) & 0xffffu)}; }
};
template <>
struct Narrow<float> {
  __device__ static float from(float x) { return x; }
};
template <>
struct Narrow<double> {
  __device__ static double from(double x) { return x; }
};

__device__ __forceinline__ float largest(float a, float b) { return fmaxf(a, b); }
__device__ __forceinline__ double largest(double a, double b) { return fmax(a, b); }

__host__ __device__ __forceinline__ int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Tiles of `size` rows; counts of tiles and blocks fit 32 bits, whose division is far cheaper on a GPU.
__host__ __device__ __forceinline__ int tiles_of(int64_t rows, int size) {
  return static_cast<int>(ceil_div(rows, static_cast<int64_t>(size)));
}

// Takes the remainder of `index` by `count` off it.
__device__ __forceinline__ int take(int& index, int64_t count) {
  const int size = static_cast<int>(count), rest = index % size;
  index /= size;
  return rest;
}

template <class E>
__device__ __forceinline__ typename E::real lanes_sum(typename E::real x) {
  for (int mask = 1; mask < E::kLanes; mask *= 2) x += shuffle_xor(x, mask);
  return x;
}

template <class E>
__device__ __forceinline__ typename E::real lanes_max(typename E::real x) {
  for (int mask = 1; mask < E::kLanes; mask *= 2) x = largest(x, shuffle_xor(x, mask));
  return x;
}

// Row 0 of the [rows, D] matrix of one image and head.
template <class T>
__device__ __forceinline__ T* rows_of(const View& view, int64_t b, int64_t h) {
  return static_cast<T*>(view.data) + b * view.b + h * view.h;
}

// The image whose keys image b attends besides its own, or -1; an index that is none counts as -1.
__device__ __forceinline__ int64_t partner_of(const Attention& p, int64_t b) {
  const int64_t other = p.partner == nullptr ? -1 : p.partner[b];
  return other < p.B ? other : -1;
}

// Score of key j of image t gets this much more; -inf where nobody may see it.
template <class real>
__device__ __forceinline__ real bias_of(const Attention& p, int64_t t, int64_t j) {
  if (j >= p.N) return minus_infinity<real>();
  return p.bias == nullptr ? real(0) : static_cast<const real*>(p.bias)[t * p.bias_b + j];
}

// What a backward pass or rollout subtracts from the scores of query i: its log-sum-exp, or infinity, which makes every
// weight zero, where it sees nothing.
template <class real>
__device__ __forceinline__ real subtracted(real lse) {
  return lse == minus_infinity<real>() ? -lse : lse;
}

template <class real>
__device__ __forceinline__ bool key_is_read(const Attention& p, int64_t t, int64_t j) {
  return bias_of<real>(p, t, j) != minus_infinity<real>();
}

// Rows [first, first + count) of a matrix on their way to shared memory, as the first of kRowsHere. Zeros stand for the
// rest, for columns beyond D, and, where rows are `checked`, for those that are not `valid`; none of these is read.
template <class E, int kRowsHere, class Valid>
__device__ __forceinline__ void load_tile(
    typename E::Storage* tile, const typename E::Input* matrix, int64_t stride, int64_t first, int count, int64_t D,
    bool checked, const Valid& valid) {
  using Input = typename E::Input;
  const Input* base = matrix + first * stride;
  const bool direct = E::kAsync && D % E::kChunk == 0 && stride >= 0 && stride < (1 << 20) &&
                      ((reinterpret_cast<uintptr_t>(base) | (stride * sizeof(Input))) & 15) == 0;
  constexpr int kStep = E::kThreads / E::kChunks;  // rows that all threads copy at once
  if (direct && !checked && E::kThreads % E::kChunks == 0 && kRowsHere % kStep == 0) {
    const unsigned thread = static_cast<unsigned>(thread_index());
    const unsigned chunk = thread % E::kChunks, row = thread / E::kChunks;
    const unsigned row_bytes = static_cast<unsigned>(stride) * sizeof(Input);
    const char* from = reinterpret_cast<const char*>(base) + (row * row_bytes + chunk * 16);
    const int left = (static_cast<int>(chunk) * E::kChunk < D ? count : 0) - static_cast<int>(row);
#pragma unroll
    for (int n = 0; n < kRowsHere / kStep; ++n) {
      copy_async<16>(tile + E::place(row + n * kStep, chunk), from, n * kStep < left);
      from += kStep * row_bytes;
    }
    return;
  }
  if (direct) {
#pragma unroll 1
    for (int i = thread_index(); i < kRowsHere * E::kChunks; i += E::kThreads) {
      const int row = i / E::kChunks, chunk = i % E::kChunks;
      const bool inside = row < count && chunk * E::kChunk < D && (!checked || valid(row));
      copy_async<16>(tile + E::place(row, chunk), inside ? base + row * stride + chunk * E::kChunk : base, inside);
    }
    return;
  }
#pragma unroll 1
  for (int i = thread_index(); i < kRowsHere * E::kWidth; i += E::kThreads) {
    const int row = i / E::kWidth, column = i % E::kWidth;
    const bool inside = row < count && column < D && (!checked || valid(row));
    tile[E::element(row, column)] = inside ? E::stored(base[row * stride + column]) : typename E::Storage{};
  }
}

// `kCount` numbers f(0), f(1), ... to shared memory.
template <class E, int kCount, class real, class F>
__device__ __forceinline__ void fill(real* to, const F& f) {
  static_assert(kCount <= E::kThreads, "one number for each thread");
  if (thread_index() < kCount) to[thread_index()] = f(thread_index());
}

// A causal limit, relative to a tile, as a number that a thread compares quickly.
__device__ __forceinline__ int limit_of(int64_t limit) {
  return static_cast<int>(max(int64_t{-1}, min(limit, int64_t{1 << 20})));
}

// How many of a tile's `size` rows from `first` on are there.
__device__ __forceinline__ int rest_of(int64_t rows, int64_t first, int size) {
  return static_cast<int>(min(int64_t{size}, rows - first));
}

template <class real, int A>
__device__ __forceinline__ void clear(real (&x)[A]) {
#pragma unroll
  for (int a = 0; a < A; ++a) x[a] = 0;
}

template <class real, int A, int B>
__device__ __forceinline__ void clear(real (&x)[A][B]) {
#pragma unroll
  for (int a = 0; a < A; ++a) clear(x[a]);
}

// E::accumulate where a weight of exactly zero stands for "may not see": such a row of `right` may hold NaN or inf, and
// must not spoil the sum. `hides`: whether the tile has such pairs (the same for the whole block).
template <class E>
__device__ __forceinline__ void accumulate_visible(
    const E& e, typename E::real (&sums)[E::R][E::O], typename E::real (&weights)[E::R][E::C],
    typename E::Storage* right, int columns, bool hides) {
  bool spoilt = false;
  if (hides) {
    for (int i = thread_index() & 31; i < E::kCols * E::kChunks; i += 32) {
      const typename E::Storage* chunk = right + E::place(i / E::kChunks, i % E::kChunks);
#pragma unroll 1
      for (int x = 0; x < E::kChunk; ++x) spoilt |= !isfinite(widen(chunk[x]));
    }
    spoilt = any_in_warp(spoilt);
  }
  if (!spoilt) {
    e.accumulate(sums, weights, right, columns);
    return;
  }
  // Seldom taken, so short rather than fast: the copy lies in memory and lets the loop stay a loop.
  const int own = thread_index() & 31 & ~(E::kLanes - 1);
  typename E::real copy[E::C][E::R];
#pragma unroll
  for (int c = 0; c < E::C; ++c) {
#pragma unroll
    for (int r = 0; r < E::R; ++r) copy[c][r] = weights[r][c];
  }
#pragma unroll 1
  for (int c = 0; c < E::C; ++c) {
#pragma unroll 1
    for (int lane = 0; lane < E::kLanes; ++lane) {
#pragma unroll
      for (int r = 0; r < E::R; ++r) {
        const typename E::real weight = shuffle(copy[c][r], own + lane);
        if (weight != 0) {
#pragma unroll
          for (int o = 0; o < E::O; ++o) {
            sums[r][o] += weight * widen(right[E::element(E::col_of(c, lane), e.out_col(o))]);
          }
        }
      }
    }
  }
}

// For how many blocks a multiprocessor's registers shall do; more blocks hide more of the memory's and the units' delays.
template <class E, int G>
constexpr int blocks_at_once(int plain, int with_readouts) {
  return E::kTensorCores && E::kWidth <= 64 && G <= 2 ? (G == 0 ? plain : with_readouts) : 1;
}

template <class Shared>
__device__ __forceinline__ Shared& shared_as() {
  return *reinterpret_cast<Shared*>(shared_memory());
}

// load(step, stage) and compute(step, stage) for all steps, with the next load under way while a step is computed.
template <class E, class Load, class Compute>
__device__ __forceinline__ void pipeline(int steps, const Load& load, const Compute& compute) {
  static_assert(E::kStages <= 2, "one load ahead at most");
  if (steps == 0) return;
  if constexpr (E::kStages == 1) {
    for (int step = 0; step < steps; ++step) {
      load(step, 0);
      copy_async_commit();
      copy_async_wait<0>();
      sync_block();
      compute(step, 0);
      sync_block();
    }
  } else {
    load(0, 0);
    copy_async_commit();
    for (int step = 0; step < steps; ++step) {
      copy_async_wait<0>();
      sync_block();  // this step's tiles are there for all, and nobody computes on those of the step before
      if (step + 1 < steps) load(step + 1, (step + 1) % 2);
      copy_async_commit();
      compute(step, step % 2);
    }
  }
}

}  // namespace vision_suite
