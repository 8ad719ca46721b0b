// The plain engine: 16 x 16 threads, each a square of scores, products by fused multiply-adds in `real_`.
#pragma once

#include "common.cuh"

namespace vision_suite {

template <class Input_, class real_, int kWidth_, int kTile>
struct Simt {
  using Storage = real_;
  using Input = Input_;
  using real = real_;
  static constexpr int kWidth = kWidth_, kCols = kTile, kRows = kTile, kThreads = 256, kStages = 1;
  static constexpr int kLanes = 16, R = kTile / 16, C = kTile / 16, O = kWidth / 16;
  static constexpr int kChunk = 16 / sizeof(real), kChunks = kWidth / kChunk;
  static constexpr bool kTensorCores = false, kAsync = sizeof(Input) == sizeof(Storage);
  // One chunk more per row: neighbouring rows start in other banks, and all stay aligned.
  static constexpr int kPitch = kWidth + kChunk, kScratchPitch = kCols + kChunk;
  static constexpr int kRowTile = kRows * kPitch, kColTile = kCols * kPitch;
  static_assert(O % kChunk == 0, "a thread's output columns are whole chunks");

  struct alignas(16) Chunk {
    real x[kChunk];
  };
  struct Scratch {
    alignas(16) real weights[kRows * kScratchPitch];
  };

  __device__ static int place(int row, int chunk) { return row * kPitch + chunk * kChunk; }
  __device__ static int element(int row, int column) { return row * kPitch + column; }
  __device__ static real stored(Input x) { return widen(x); }
  __device__ static float exp(float x) { return expf(x); }
  __device__ static double exp(double x) { return ::exp(x); }
  __device__ static bool exp_fits(real) { return false; }
  __device__ static real rate(double factor) { return static_cast<real>(factor); }
  __device__ static real power(real base) { return base; }
  __device__ static real exp_fitting(real x, real rate, real power) { return exp(x * rate - power); }
  __device__ static int col_of(int c, int lane) { return lane + 16 * c; }

  const int tx = thread_index() & 15, ty = thread_index() >> 4;
  real* const weights;
  const int width;  // the head width in whole chunks

  __device__ Simt(Scratch* scratch, int64_t D)
      : weights(scratch->weights), width(static_cast<int>(ceil_div(D, kChunk)) * kChunk) {}
  __device__ int row(int r) const { return ty + 16 * r; }
  __device__ int col(int c) const { return col_of(c, tx); }
  __device__ int out_col(int o) const { return (o / kChunk * 16 + tx) * kChunk + o % kChunk; }

  __device__ static bool idle(int) { return false; }

  struct Reloaded {
    const real* tile;
    __device__ void load(const Simt&, const real* from) { tile = from; }
  };
  using Kept = Reloaded;

  __device__ static Chunk chunk_at(const real* from) { return *reinterpret_cast<const Chunk*>(from); }

  __device__ __forceinline__ void scores(real (&s)[R][C], const Reloaded& left, const real* right, int) const {
    clear(s);
    for (int k = 0; k < width; k += kChunk) {
      Chunk a[R], b[C];
#pragma unroll
      for (int r = 0; r < R; ++r) a[r] = chunk_at(left.tile + row(r) * kPitch + k);
#pragma unroll
      for (int c = 0; c < C; ++c) b[c] = chunk_at(right + col(c) * kPitch + k);
#pragma unroll
      for (int x = 0; x < kChunk; ++x) {
#pragma unroll
        for (int r = 0; r < R; ++r) {
#pragma unroll
          for (int c = 0; c < C; ++c) s[r][c] += a[r].x[x] * b[c].x[x];
        }
      }
    }
  }

  // A row's weights are written and read by the same half of a warp.
  __device__ __forceinline__ void accumulate(
      real (&sums)[R][O], const real (&s)[R][C], const real* right, int columns) const {
    sync_warp();
#pragma unroll
    for (int r = 0; r < R; ++r) {
#pragma unroll
      for (int c = 0; c < C; ++c) weights[row(r) * kScratchPitch + col(c)] = s[r][c];
    }
    sync_warp();
    for (int k = 0; k < columns; k += kChunk) {
      Chunk a[R];
#pragma unroll
      for (int r = 0; r < R; ++r) a[r] = chunk_at(weights + row(r) * kScratchPitch + k);
#pragma unroll
      for (int x = 0; x < kChunk; ++x) {
#pragma unroll
        for (int part = 0; part < O / kChunk; ++part) {
          const Chunk b = chunk_at(right + (k + x) * kPitch + (part * 16 + tx) * kChunk);
#pragma unroll
          for (int r = 0; r < R; ++r) {
#pragma unroll
            for (int y = 0; y < kChunk; ++y) sums[r][part * kChunk + y] += a[r].x[x] * b.x[y];
          }
        }
      }
    }
  }

  __device__ __forceinline__ void store(Input* to, const real (&sums)[O], real factor, int64_t D) const {
#pragma unroll
    for (int o = 0; o < O; ++o) {
      if (out_col(o) < D) to[out_col(o)] = Narrow<Input>::from(sums[o] * factor);
    }
  }
};

}  // namespace vision_suite
