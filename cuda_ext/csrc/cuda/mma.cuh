// The tensor-core engine: 4 warps, each 16 rows, products by mma.m16n8k16 with float sums.
#pragma once

#include "common.cuh"

namespace vision_suite {

template <class T, int kWidth_, int kCols_>
struct Mma {
  using Storage = T;
  using Input = T;
  using real = float;
  static constexpr int kWidth = kWidth_, kCols = kCols_, kRows = 64, kThreads = 128, kStages = 2;
  static constexpr int kLanes = 4, R = 2, C = kCols / 4, O = kWidth / 4;
  static constexpr int kChunk = 8, kChunks = kWidth / 8;
  static constexpr bool kTensorCores = true, kAsync = true;
  static constexpr int kRowTile = kRows * kWidth, kColTile = kCols * kWidth;  // elements in shared memory
  struct Scratch {};

  // Chunks change places so that eight rows of one chunk lie in eight different groups of banks.
  __device__ static int place(int row, int chunk) {
    const int turn = kWidth % 64 == 0 ? row & 7 : (row >> 1) & 3;
    return row * kWidth + (chunk ^ turn) * kChunk;
  }
  __device__ static int element(int row, int column) { return place(row, column / kChunk) + column % kChunk; }
  __device__ static T stored(T x) { return x; }
  __device__ static float exp(float x) { return exp2_fast(x * kLog2e); }
  // exp(x factor - base) in one multiply-add, from powers of two: rate(factor) and power(base). What their rounding
  // leaves of `base` is multiplied into all weights of a row alike, so it must be small.
  __device__ static bool exp_fits(float base) { return fabsf(base) < 1e4f; }
  __device__ static float rate(double factor) { return static_cast<float>(factor * 1.4426950408889634); }
  __device__ static float power(float base) { return rounded_product(base, kLog2e); }
  __device__ static float exp_fitting(float x, float rate, float power) { return exp2_fast(fmaf(x, rate, -power)); }
  __device__ static int col_of(int c, int lane) { return (c >> 1) * 8 + lane * 2 + (c & 1); }

  const int lane = thread_index() & 31, warp = thread_index() >> 5;

  __device__ explicit Mma(Scratch*, int64_t) {}
  __device__ int row(int r) const { return warp * 16 + (lane >> 2) + 8 * r; }
  __device__ int col(int c) const { return col_of(c, lane & 3); }
  __device__ int out_col(int o) const { return col_of(o, lane & 3); }

  // Whether this warp has none of a tile's first `count` rows, and so nothing to do.
  __device__ bool idle(int count) const { return warp * 16 >= count; }

  struct Reloaded {
    const T* tile;
    __device__ void load(const Mma&, const T* from) { tile = from; }
    __device__ void get(const Mma& e, int k, uint32_t (&a)[4]) const { e.left_fragment(a, tile, k); }
  };
  struct Kept {
    uint32_t a[kWidth / 16][4];
    __device__ void load(const Mma& e, const T* from) {
#pragma unroll
      for (int k = 0; k < kWidth / 16; ++k) e.left_fragment(a[k], from, k);
    }
    __device__ void get(const Mma&, int k, uint32_t (&to)[4]) const {
#pragma unroll
      for (int i = 0; i < 4; ++i) to[i] = a[k][i];
    }
  };

  // Where 16 bytes lie whose row is `row` plus any multiple of 16 and whose chunk is 2 i + `odd`: at(i), plus the bytes
  // of the further rows. Chunk and turn meet by exclusive or, so the part of 2 i can be added that way, too.
  struct Chunks {
    SharedAddress row;
    uint32_t turn;
    __device__ Chunks(const T* tile, int row_, int odd) : row(shared_address(tile + row_ * kWidth)) {
      turn = static_cast<uint32_t>(place(row_, odd) - row_ * kWidth) * sizeof(T);
    }
    __device__ SharedAddress at(int i) const { return row + (turn ^ (2 * kChunk * sizeof(T) * i)); }
  };
  static constexpr uint32_t kSixteenRows = 16 * kWidth * sizeof(T);

  // Rows of this warp, columns [16 k, 16 k + 16).
  __device__ __forceinline__ void left_fragment(uint32_t (&a)[4], const T* tile, int k) const {
    load_matrices(a, Chunks(tile, warp * 16 + (lane & 15), lane >> 4).at(k));
  }

  template <class Left>
  __device__ __forceinline__ void scores(float (&s)[R][C], const Left& left, const T* right, int columns) const {
    clear(s);
    const Chunks chunks(right, (lane & 7) + (lane >> 4) * 8, (lane >> 3) & 1);
    const auto product = [&](int k, int pair, const uint32_t (&a)[4]) {
      uint32_t b[4];
      load_matrices(b, chunks.at(k) + pair * kSixteenRows);
      const int c = 4 * pair;
      multiply_add(T{}, s[0][c], s[0][c + 1], s[1][c], s[1][c + 1], a, b[0], b[1]);
      multiply_add(T{}, s[0][c + 2], s[0][c + 3], s[1][c + 2], s[1][c + 3], a, b[2], b[3]);
    };
    if (columns > kCols - 16) {
#pragma unroll
      for (int k = 0; k < kWidth / 16; ++k) {
        uint32_t a[4];
        left.get(*this, k, a);
#pragma unroll
        for (int pair = 0; pair < kCols / 16; ++pair) product(k, pair, a);
      }
      return;
    }
#pragma unroll
    for (int pair = 0; pair < kCols / 16 - 1; ++pair) {
      if (pair * 16 >= columns) break;
#pragma unroll
      for (int k = 0; k < kWidth / 16; ++k) {
        uint32_t a[4];
        left.get(*this, k, a);
        product(k, pair, a);
      }
    }
  }

  // Scores of two neighbouring 8-column tiles are just a left operand of 16 columns.
  __device__ __forceinline__ void accumulate(
      float (&sums)[R][O], const float (&s)[R][C], const T* right, int columns) const {
    const Chunks chunks(right, lane & 15, lane >> 4);
    const auto product = [&](int k) {
      const int c = 4 * k;
      const uint32_t a[4] = {
          pack_pair(T{}, s[0][c], s[0][c + 1]), pack_pair(T{}, s[1][c], s[1][c + 1]),
          pack_pair(T{}, s[0][c + 2], s[0][c + 3]), pack_pair(T{}, s[1][c + 2], s[1][c + 3])};
#pragma unroll
      for (int pair = 0; pair < kWidth / 16; ++pair) {
        uint32_t b[4];
        load_matrices_transposed(b, chunks.at(pair) + k * kSixteenRows);
        const int o = 4 * pair;
        multiply_add(T{}, sums[0][o], sums[0][o + 1], sums[1][o], sums[1][o + 1], a, b[0], b[1]);
        multiply_add(T{}, sums[0][o + 2], sums[0][o + 3], sums[1][o + 2], sums[1][o + 3], a, b[2], b[3]);
      }
    };
    if (columns > kCols - 16) {
#pragma unroll
      for (int k = 0; k < kCols / 16; ++k) product(k);
      return;
    }
#pragma unroll
    for (int k = 0; k < kCols / 16 - 1; ++k) {
      if (k * 16 >= columns) break;
      product(k);
    }
  }

  // One output row of this thread, times `factor`; rows of outputs are contiguous, so an even D keeps pairs aligned.
  __device__ __forceinline__ void store(T* to, const float (&sums)[O], float factor, int64_t D) const {
#pragma unroll
    for (int o = 0; o < O; o += 2) {
      const int column = out_col(o);
      const uint32_t pair = pack_pair(T{}, sums[o] * factor, sums[o + 1] * factor);
      if (D % 2 == 0) {
        if (column < D) *reinterpret_cast<uint32_t*>(to + column) = pair;
      } else {
        if (column < D) to[column].bits = static_cast<uint16_t>(pair);
        if (column + 1 < D) to[column + 1].bits = static_cast<uint16_t>(pair >> 16);
      }
    }
  }
};

}  // namespace vision_suite
