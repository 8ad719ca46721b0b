// What a kernel gets: raw pointers, sizes and strides, the same for CPU and CUDA. No torch in here.
//
// B images, H query heads, Hkv key heads, M queries, N keys, D head width, G read-out columns. All strides count elements;
// the stride of the last dimension is always 1.
#pragma once

#include <cstdint>

namespace vision_suite {

enum class Scalar : int32_t { f32, f64, bf16, f16 };

constexpr int64_t kMaxWidth = 256;   // D
constexpr int64_t kMaxReadouts = 8;  // G

// A [B, heads, rows, D] tensor.
struct View {
  void* data;
  int64_t b, h, n;  // strides of image, head, row
};

// Inputs that forward and backward share. bias, readout and every statistic are float32 (float64 when q is).
struct Attention {
  Scalar dtype;
  int64_t B, H, Hkv, M, N, D, G;
  double scale;
  bool causal;             // key j is visible to query i iff j <= i + N - M
  View q, k, v;
  const int64_t* partner;  // [B] or null; -1 = own keys only
  const void* bias;        // [B, N] or null; -inf = the key is never read
  int64_t bias_b;
  const void* readout;     // [N, G] (readout_b = 0) or [B, N, G], or null
  int64_t readout_b, readout_n;
};

struct Forward : Attention {
  View out;
  void* lse;    // [B, H, M] contiguous
  void* extra;  // [B, H, M, G] contiguous, null if G = 0
  void* map;    // [B, M, N] contiguous, mean over heads of the probabilities; null if not wanted
};

struct Backward : Attention {
  View dout, out;
  const void* dlse;    // [B, H, M] contiguous, or null
  const void* dextra;  // [B, H, M, G] contiguous, or null
  const void* lse;
  const void* extra;
  const int32_t* inv_offsets;  // [B + 1], with partner: images c = inv_order[inv_offsets[t] .. inv_offsets[t + 1]) have
  const int32_t* inv_order;    // [B]      partner[c] = t, ascending
  View dq, dk, dv;
  void* dreadout;  // [B, Hkv, N, G] contiguous, partial sums per key head, or null
};

// One rollout step: r_out[b, j] = residual * r_in[b, j] + (1 - residual) * mean_h sum_i r_in[b, i] P[b, h, i, j].
// mean_map uses the same inputs with r_in = null and map set. v, partner and readout are unused.
struct Rollout : Attention {
  const void* lse;   // [B, H, M], contiguous
  double residual;
  const void* r_in;  // [B, M] contiguous
  void* r_out;       // [B, N] contiguous
  void* map;         // [B, M, N] contiguous
};

}  // namespace vision_suite
