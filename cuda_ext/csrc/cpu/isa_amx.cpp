// AVX-512 with AMX: bfloat16 products in tiles of 16 x 16 sums, sixteen times the rate of vector instructions.
#include "kernel.h"

#if defined(__x86_64__) && defined(__linux__)
#include <immintrin.h>
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c,amx-tile,amx-bf16")

namespace vision_suite {
namespace {

struct Tiled;
template <class P>
void gemm(
    int64_t, int64_t, int64_t, int64_t, const typename P::word*, int64_t, int64_t, const typename P::word*,
    typename P::real*, int64_t, bool);

#include "lanes_avx512.inl"
#include "native_bf16.inl"

struct Tiled : PairedWords {
  static constexpr int64_t rows = 16, keys = 32;
  static int64_t words(int64_t n) { return round_up((n + 1) / 2, 16); }
};

// The compiler's tile intrinsics do not say that they read and write memory.
inline void memory_barrier() { asm volatile("" ::: "memory"); }

// All eight tiles are 16 rows of 64 bytes. Whoever had the tiles on this thread gets its configuration back.
struct TileConfiguration {
  alignas(64) unsigned char before[64];

  TileConfiguration() {
    alignas(64) unsigned char wanted[64] = {};
    wanted[0] = 1;
    for (int tile = 0; tile < 8; ++tile) {
      wanted[16 + 2 * tile] = 64;
      wanted[48 + tile] = 16;
    }
    memory_barrier();
    _tile_storeconfig(before);
    _tile_loadconfig(wanted);
    memory_barrier();
  }
  ~TileConfiguration() {
    memory_barrier();
    if (before[0] == 0) {
      _tile_release();
    } else {
      _tile_loadconfig(before);
    }
  }
};

// Tiles 0-3: sums, 4-5: A, 6-7: B.
template <int R, int C>
inline void tile_block(
    int64_t K, const uint32_t* a, int64_t lda, const uint32_t* b, int64_t ldb, float* c, int64_t ldc, bool add) {
  const int64_t a_bytes = lda * 4, b_bytes = ldb * 4, c_bytes = ldc * 4;
  if (add) {
    _tile_loadd(0, c, c_bytes);
    if constexpr (C > 1) _tile_loadd(1, c + 16, c_bytes);
    if constexpr (R > 1) _tile_loadd(2, c + 16 * ldc, c_bytes);
    if constexpr (R > 1 && C > 1) _tile_loadd(3, c + 16 * ldc + 16, c_bytes);
  } else {
    _tile_zero(0);
    if constexpr (C > 1) _tile_zero(1);
    if constexpr (R > 1) _tile_zero(2);
    if constexpr (R > 1 && C > 1) _tile_zero(3);
  }
  for (int64_t k = 0; k < K; k += 16) {
    _tile_loadd(6, b + k * ldb, b_bytes);
    if constexpr (C > 1) _tile_loadd(7, b + k * ldb + 16, b_bytes);
    _tile_loadd(4, a + k, a_bytes);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (C > 1) _tile_dpbf16ps(1, 4, 7);
    if constexpr (R > 1) {
      _tile_loadd(5, a + 16 * lda + k, a_bytes);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (C > 1) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, c, c_bytes);
  if constexpr (C > 1) _tile_stored(1, c + 16, c_bytes);
  if constexpr (R > 1) _tile_stored(2, c + 16 * ldc, c_bytes);
  if constexpr (R > 1 && C > 1) _tile_stored(3, c + 16 * ldc + 16, c_bytes);
}

template <>
void gemm<Tiled>(
    int64_t rows, int64_t cols, int64_t packed_cols, int64_t K, const uint32_t* a, int64_t lda, int64_t,
    const uint32_t* b, float* c, int64_t ldc, bool add) {
  constexpr int64_t panel = Lanes::NV * Lanes::W;
  memory_barrier();
  for (int64_t col = 0; col < cols; col += 32) {
    const int64_t first = col / panel * panel, ldb = least(panel, packed_cols - first);
    const uint32_t* from = b + first * K + (col - first);
    const bool two = col + 16 < cols;
    for (int64_t row = 0; row < rows; row += 32) {
      const uint32_t* x = a + row * lda;
      float* y = c + row * ldc + col;
      if (row + 16 < rows) {
        two ? tile_block<2, 2>(K, x, lda, from, ldb, y, ldc, add) : tile_block<2, 1>(K, x, lda, from, ldb, y, ldc, add);
      } else {
        two ? tile_block<1, 2>(K, x, lda, from, ldb, y, ldc, add) : tile_block<1, 1>(K, x, lda, from, ldb, y, ldc, add);
      }
    }
  }
  memory_barrier();
}

// The kernels of Tiled, with the tiles configured around them.
void tiled_forward(const Forward& p, int64_t begin, int64_t end) {
  TileConfiguration tiles;
  forward<Tiled>(p, begin, end);
}
void tiled_forward_map(const Forward& p, int64_t image, int64_t row_begin, int64_t row_end) {
  TileConfiguration tiles;
  forward_map<Tiled>(p, image, row_begin, row_end);
}
void tiled_backward(const Backward& p, const Gradients& to, int64_t begin, int64_t end, bool partners) {
  TileConfiguration tiles;
  backward<Tiled>(p, to, begin, end, partners);
}
void tiled_rollout(const Rollout& p, void* heads, int64_t begin, int64_t end) {
  TileConfiguration tiles;
  rollout<Tiled>(p, heads, begin, end);
}
void tiled_mean_map(const Rollout& p, int64_t image, int64_t row_begin, int64_t row_end) {
  TileConfiguration tiles;
  mean_map<Tiled>(p, image, row_begin, row_end);
}

const Kernels kernels{&tiled_forward, &tiled_forward_map, &tiled_backward, &tiled_rollout, &tiled_mean_map};
const KernelTable table{"amx", {nullptr, nullptr, &kernels, nullptr}};

}  // namespace

const KernelTable* amx_kernels() { return &table; }

}  // namespace vision_suite
#pragma GCC pop_options
#else
namespace vision_suite {
const KernelTable* amx_kernels() { return nullptr; }
}  // namespace vision_suite
#endif
