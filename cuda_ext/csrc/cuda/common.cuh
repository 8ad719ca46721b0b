// What all kernels share: numbers, tiles on their way to shared memory, which key is visible, and a sum along lanes.
//
// A kernel is written once over an engine E, which owns the products of two tiles: Mma (tensor cores, half precision) or
// Simt (float and double, and what is too wide for Mma). One block works on a score tile of E::kRows x E::kCols; a thread
// holds R x C of its scores and R x O of an output tile kRows x kWidth:
//   Storage, Input, real     element in shared memory, in global memory, and of sums and statistics
//   row(r), col(c), out_col(o)            where a thread's numbers lie in the tiles
//   place(row, chunk), kChunk, kChunks    where 16 bytes of a row lie in shared memory
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

template <class real>
__device__ __forceinline__ bool key_is_read(const Attention& p, int64_t t, int64_t j) {
  return bias_of<real>(p, t, j) != minus_infinity<real>();
}

// Rows [first, first + kRowsHere) of a matrix on their way to shared memory; zeros for those that are not `valid`, which
// are never read, and for columns beyond D.
template <class E, int kRowsHere, class Valid>
__device__ __forceinline__ void load_tile(
    typename E::Storage* tile, const typename E::Input* matrix, int64_t stride, int64_t first, int64_t D,
    const Valid& valid) {
  const typename E::Input* base = matrix + first * stride;
  const bool direct = E::kAsync && D % E::kChunk == 0 &&
                      ((reinterpret_cast<uintptr_t>(base) | (stride * sizeof(typename E::Input))) & 15) == 0;
  if (direct) {
    for (int i = thread_index(); i < kRowsHere * E::kChunks; i += E::kThreads) {
      const int row = i / E::kChunks, chunk = i % E::kChunks;
      const bool inside = valid(first + row) && chunk * E::kChunk < D;
      copy_async_16(tile + E::place(row, chunk), inside ? base + row * stride + chunk * E::kChunk : base, inside);
    }
    return;
  }
#pragma unroll 1
  for (int i = thread_index(); i < kRowsHere * E::kWidth; i += E::kThreads) {
    const int row = i / E::kWidth, column = i % E::kWidth;
    const bool inside = valid(first + row) && column < D;
    tile[E::element(row, column)] = inside ? E::stored(base[row * stride + column]) : typename E::Storage{};
  }
}

// `kCount` numbers f(0), f(1), ... to shared memory.
template <class E, int kCount, class real, class F>
__device__ __forceinline__ void fill(real* to, const F& f) {
#pragma unroll 1
  for (int i = thread_index(); i < kCount; i += E::kThreads) to[i] = f(i);
}

template <class real, int A, int B>
__device__ __forceinline__ void clear(real (&x)[A][B]) {
#pragma unroll
  for (int a = 0; a < A; ++a) {
#pragma unroll
    for (int b = 0; b < B; ++b) x[a][b] = 0;
  }
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

template <class Shared>
__device__ __forceinline__ Shared& shared_as() {
  return *reinterpret_cast<Shared*>(shared_memory());
}

// load(step, stage) and compute(step, stage) for all steps, with the next load under way while a step is computed.
template <class E, class Load, class Compute>
__device__ __forceinline__ void pipeline(int steps, const Load& load, const Compute& compute) {
  constexpr int kAhead = E::kStages - 1;
  if (steps == 0) return;
  for (int next = 0; next < steps + kAhead; ++next) {
    if (next < steps) load(next, next % E::kStages);
    copy_async_commit();
    if (next < kAhead) continue;
    copy_async_wait<kAhead>();
    sync_block();
    compute(next - kAhead, (next - kAhead) % E::kStages);
    sync_block();
  }
}

}  // namespace vision_suite
