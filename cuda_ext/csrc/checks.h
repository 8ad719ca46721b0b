// Every check of an operator's arguments, for both devices: after it, the structs of params.h can be trusted.
// Messages say what, where and how to mend it; the Python wrapper gives the same ones earlier and with more context.
#pragma once

#include <torch/csrc/stable/macros.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <optional>

#include "params.h"

namespace vision_suite {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using MaybeTensor = std::optional<Tensor>;

inline Scalar scalar_of(const Tensor& tensor, const char* name) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return Scalar::f32;
    case ScalarType::Double: return Scalar::f64;
    case ScalarType::BFloat16: return Scalar::bf16;
    case ScalarType::Half: return Scalar::f16;
    default: STD_TORCH_CHECK(false, name, " must be float64, float32, bfloat16 or float16");
  }
}

// Type of biases, read-outs and statistics that go with q.
inline ScalarType wide_type(const Tensor& q) {
  return q.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

inline View view_of(const Tensor& t) { return {t.mutable_data_ptr(), t.stride(0), t.stride(1), t.stride(2)}; }

inline View const_view(const Tensor& t) {
  return {const_cast<void*>(t.const_data_ptr()), t.stride(0), t.stride(1), t.stride(2)};
}

inline const void* data_or_null(const MaybeTensor& t) { return t.has_value() ? t->const_data_ptr() : nullptr; }

inline void check_heads(const Tensor& t, const Tensor& like, const char* name) {
  STD_TORCH_CHECK(t.dim() == 4, name, " must be [B, H, rows, D], got ", t.dim(), " dimensions");
  STD_TORCH_CHECK(t.scalar_type() == like.scalar_type(), name, " and q differ in dtype: cast them to one");
  STD_TORCH_CHECK(
      t.is_cpu() == like.is_cpu() && t.get_device_index() == like.get_device_index(), name,
      " and q are on different devices: move them to one");
  STD_TORCH_CHECK(
      t.stride(3) == 1 || t.size(3) <= 1 || t.numel() == 0, name,
      " needs stride 1 in its last dimension: call .contiguous()");
}

inline void check_wide(const Tensor& t, const Tensor& q, const char* name) {
  STD_TORCH_CHECK(
      t.scalar_type() == wide_type(q), name, " must be float32 (float64 when q is float64), whatever q's half precision");
  STD_TORCH_CHECK(
      t.is_cpu() == q.is_cpu() && t.get_device_index() == q.get_device_index(), name,
      " and q are on different devices: move them to one");
}

// [B, H, M] or [B, H, M, G], contiguous.
inline void check_statistic(const Tensor& t, const Tensor& q, const char* name, int64_t columns = -1) {
  check_wide(t, q, name);
  const bool fits = t.dim() == (columns < 0 ? 3 : 4) && t.size(0) == q.size(0) && t.size(1) == q.size(1) &&
                    t.size(2) == q.size(2) && (columns < 0 || t.size(3) == columns);
  STD_TORCH_CHECK(fits, name, " does not fit q: it must be [B, H, M", columns < 0 ? "]" : ", G]");
  STD_TORCH_CHECK(t.is_contiguous(), name, " must be contiguous");
}

// Queries, keys and mask of any operator; v, partner and read-outs are filled in by `check_attention`.
inline void check_scores(
    Attention& a, const Tensor& q, const Tensor& k, const MaybeTensor& key_bias, double scale, bool causal) {
  check_heads(q, q, "q");
  check_heads(k, q, "k");
  a.dtype = scalar_of(q, "q");
  a.B = q.size(0), a.H = q.size(1), a.M = q.size(2), a.D = q.size(3);
  a.Hkv = k.size(1), a.N = k.size(2);
  STD_TORCH_CHECK(k.size(0) == a.B, "k has ", k.size(0), " images but q has ", a.B);
  STD_TORCH_CHECK(k.size(3) == a.D, "k has head width ", k.size(3), " but q has ", a.D);
  STD_TORCH_CHECK(a.D >= 1 && a.D <= kMaxWidth, "head width ", a.D, " must lie between 1 and ", kMaxWidth);
  STD_TORCH_CHECK(
      a.Hkv == 0 ? a.H == 0 : a.H % a.Hkv == 0, "q has ", a.H, " heads, which k's ", a.Hkv, " do not divide");
  a.scale = scale, a.causal = causal;
  a.q = const_view(q), a.k = const_view(k);
  if (key_bias.has_value()) {
    check_wide(*key_bias, q, "key_bias");
    STD_TORCH_CHECK(
        key_bias->dim() == 2 && key_bias->size(0) == a.B && key_bias->size(1) == a.N, "key_bias must be [B, N]");
    STD_TORCH_CHECK(key_bias->stride(1) == 1 || a.N <= 1, "key_bias needs stride 1 in its last dimension");
    a.bias = key_bias->const_data_ptr(), a.bias_b = key_bias->stride(0);
  }
}

inline void check_attention(
    Attention& a, const Tensor& q, const Tensor& k, const Tensor& v, const MaybeTensor& partner,
    const MaybeTensor& key_bias, const MaybeTensor& readout, double scale, bool causal) {
  check_scores(a, q, k, key_bias, scale, causal);
  check_heads(v, q, "v");
  STD_TORCH_CHECK(
      v.size(0) == a.B && v.size(1) == a.Hkv && v.size(2) == a.N && v.size(3) == a.D, "v must have the shape of k");
  a.v = const_view(v);
  if (partner.has_value()) {
    STD_TORCH_CHECK(!causal, "partner and causal exclude each other");
    STD_TORCH_CHECK(
        partner->scalar_type() == ScalarType::Long && partner->dim() == 1 && partner->size(0) == a.B &&
            partner->is_contiguous(),
        "partner must be a contiguous int64 tensor [B]");
    STD_TORCH_CHECK(partner->is_cpu() == q.is_cpu(), "partner and q are on different devices: move them to one");
    a.partner = static_cast<const int64_t*>(partner->const_data_ptr());
    if (q.is_cpu()) {  // on CUDA this would synchronise; kernels clamp there
      for (int64_t b = 0; b < a.B; ++b) {
        STD_TORCH_CHECK(
            a.partner[b] >= -1 && a.partner[b] < a.B, "partner[", b, "] is ", a.partner[b], ", not in [-1, ", a.B - 1,
            "]");
      }
    }
  }
  if (readout.has_value()) {
    check_wide(*readout, q, "readout");
    const int64_t dims = readout->dim();
    STD_TORCH_CHECK(
        (dims == 2 || (dims == 3 && readout->size(0) == a.B)) && readout->size(dims - 2) == a.N,
        "readout must be [N, G] or [B, N, G]");
    a.G = readout->size(dims - 1);
    STD_TORCH_CHECK(a.G <= kMaxReadouts, "readout has ", a.G, " columns, at most ", kMaxReadouts, " are served");
    STD_TORCH_CHECK(readout->stride(dims - 1) == 1 || a.G <= 1, "readout needs stride 1 in its last dimension");
    a.readout = readout->const_data_ptr();
    a.readout_b = dims == 3 ? readout->stride(0) : 0;
    a.readout_n = readout->stride(dims - 2);
  }
}

}  // namespace vision_suite
