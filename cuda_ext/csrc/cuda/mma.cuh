// The tensor-core engine: each of 4 warps has kTiles times 16 rows, products by mma.m16n8k16 with float sums.
#pragma once

#include "common.cuh"

namespace vision_suite {

template <class T, int kWidth_, int kCols_, int kTiles = 1>
struct Mma {
  using Storage = T;
  using Input = T;
  using real = float;
  static constexpr int kWidth = kWidth_, kCols = kCols_, kRows = 64 * kTiles, kThreads = 128;
  static constexpr int kStages = 2;
  static constexpr int kLanes = 4, R = 2 * kTiles, C = kCols / 4, O = kWidth / 4;
  static constexpr int kChunk = 8, kChunks = kWidth / 8;
  static constexpr bool kTensorCores = true, kAsync = true;
  static constexpr int kRowTile = kRows * kWidth, kColTile = kCols * kWidth;  // elements in shared memory
  struct Scratch {};
  // For whole passes over many rows: what is read of the other side serves two tiles, where registers allow it.
  using Tall = Mma<T, kWidth, kCols, kWidth <= 64 ? 2 : 1>;

  // Chunks change places so that eight rows of one chunk lie in eight different groups of banks.
  __device__ static int place(int row, int chunk) {
    const int turn = kWidth % 64 == 0 ? row & 7 : (row >> 1) & 3;
    return row * kWidth + (chunk ^ turn) * kChunk;
  }
  __device__ static int element(int row, int column) { return place(row, column / kChunk) + column % kChunk; }
  __device__ static T stored(T x) { return x; }
  __device__ static float exp(float x) { return exp2_fast(x * kLog2e); }
  // exp(x factor - base) in one multiply-add, from powers of two: rate(factor) and power(base). What their rounding leaves
  // of `base` is multiplied into all weights of a row alike, so it must be small.
  __device__ static bool exp_fits(float base) { return fabsf(base) < 1e4f; }
  __device__ static float rate(double factor) { return static_cast<float>(factor * 1.4426950408889634); }
  __device__ static float power(float base) { return rounded_product(base, kLog2e); }
  __device__ static float exp_fitting(float x, float rate, float power) { return exp2_fast(fmaf(x, rate, -power)); }
  __device__ static int col_of(int c, int lane) { return (c >> 1) * 8 + lane * 2 + (c & 1); }

  const int lane = thread_index() & 31, warp = thread_index() >> 5;

  __device__ explicit Mma(Scratch*, int64_t) {}
  __device__ int row(int r) const { return (warp * kTiles + (r >> 1)) * 16 + (lane >> 2) + 8 * (r & 1); }
  __device__ int col(int c) const { return col_of(c, lane & 3); }
  __device__ int out_col(int o) const { return col_of(o, lane & 3); }

  // Whether this warp has none of a tile's first `count` rows, and so nothing to do.
  __device__ bool idle(int count) const { return warp * kTiles * 16 >= count; }

  struct Reloaded {
    const T* tile;
    __device__ void load(const Mma&, const T* from) { tile = from; }
    __device__ void get(const Mma& e, int k, uint32_t (&to)[kTiles][4]) const {
#pragma unroll
      for (int m = 0; m < kTiles; ++m) e.left_fragment(to[m], tile, m, k);
    }
  };
  struct Kept {
    uint32_t a[kTiles][kWidth / 16][4];
    __device__ void load(const Mma& e, const T* from) {
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
#pragma unroll
        for (int k = 0; k < kWidth / 16; ++k) e.left_fragment(a[m][k], from, m, k);
      }
    }
    __device__ void get(const Mma&, int k, uint32_t (&to)[kTiles][4]) const {
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
#pragma unroll
        for (int i = 0; i < 4; ++i) to[m][i] = a[m][k][i];
      }
    }
  };

  // Where 16 bytes lie whose row is `row`, plus any multiple of 16, and whose chunk is 2 i + `odd`: at(i), plus the bytes of
  // the further rows. The bit of `odd` and the turn of the row do not meet those of 2 i but by exclusive or.
  struct Chunks {
    SharedAddress row;
    uint32_t turn;
    __device__ Chunks(const T* tile, int row_, int odd) : row(shared_address(tile + row_ * kWidth)) {
      turn = static_cast<uint32_t>(place(row_, odd) - row_ * kWidth) * sizeof(T);
    }
    __device__ SharedAddress at(int i) const { return row + (turn ^ (2 * kChunk * sizeof(T) * i)); }
  };
  static constexpr uint32_t kSixteenRows = 16 * kWidth * sizeof(T);

  // Rows of this warp's m-th tile, columns [16 k, 16 k + 16).
  __device__ __forceinline__ void left_fragment(uint32_t (&a)[4], const T* tile, int m, int k) const {
    load_matrices(a, Chunks(tile, (warp * kTiles + m) * 16 + (lane & 15), lane >> 4).at(k));
  }

  template <class Left>
  __device__ __forceinline__ void scores(float (&s)[R][C], const Left& left, const T* right, int columns) const {
    clear(s);
    const Chunks chunks(right, (lane & 7) + (lane >> 4) * 8, (lane >> 3) & 1);
    const auto product = [&](int k, int pair, const uint32_t (&a)[kTiles][4]) {
      uint32_t b[4];
      load_matrices(b, chunks.at(k) + pair * kSixteenRows);
#pragma unroll
      for (int r = 0; r < R; r += 2) {
        const int c = 4 * pair;
        multiply_add(T{}, s[r][c], s[r][c + 1], s[r + 1][c], s[r + 1][c + 1], a[r / 2], b[0], b[1]);
        multiply_add(T{}, s[r][c + 2], s[r][c + 3], s[r + 1][c + 2], s[r + 1][c + 3], a[r / 2], b[2], b[3]);
      }
    };
    if (columns > kCols - 16) {
#pragma unroll
      for (int k = 0; k < kWidth / 16; ++k) {
        uint32_t a[kTiles][4];
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
        uint32_t a[kTiles][4];
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
      uint32_t a[kTiles][4];
#pragma unroll
      for (int r = 0; r < R; r += 2) {
        a[r / 2][0] = pack_pair(T{}, s[r][c], s[r][c + 1]), a[r / 2][1] = pack_pair(T{}, s[r + 1][c], s[r + 1][c + 1]);
        a[r / 2][2] = pack_pair(T{}, s[r][c + 2], s[r][c + 3]);
        a[r / 2][3] = pack_pair(T{}, s[r + 1][c + 2], s[r + 1][c + 3]);
      }
#pragma unroll
      for (int pair = 0; pair < kWidth / 16; ++pair) {
        uint32_t b[4];
        load_matrices_transposed(b, chunks.at(pair) + k * kSixteenRows);
        const int o = 4 * pair;
#pragma unroll
        for (int r = 0; r < R; r += 2) {
          multiply_add(T{}, sums[r][o], sums[r][o + 1], sums[r + 1][o], sums[r + 1][o + 1], a[r / 2], b[0], b[1]);
          multiply_add(
              T{}, sums[r][o + 2], sums[r][o + 3], sums[r + 1][o + 2], sums[r + 1][o + 3], a[r / 2], b[2], b[3]);
        }
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
