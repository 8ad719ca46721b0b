// The operators themselves, once for both devices: check, allocate, hand the structs of params.h to the device's kernels.
//
// Device has static functions forward(const Forward&, like), backward(const Backward&, like), rollout_step(const Rollout&,
// like), mean_map(const Rollout&, like), where scratch is allocated like the tensor `like`, sum_heads(partial
// [B, Hkv, N, G], over_images) in a fixed order, and a Guard that is made from a tensor before anything is launched.
#pragma once

#include <tuple>
#include <vector>

#include "checks.h"

namespace vision_suite {

// [B, H, rows, D] as a view of a contiguous [B, rows, H, D] buffer, so that joining heads afterwards costs nothing.
inline Tensor heads_buffer(const Tensor& like, int64_t b, int64_t h, int64_t rows, int64_t d) {
  return torch::stable::transpose(torch::stable::new_empty(like, {b, rows, h, d}), 1, 2);
}

template <class Device>
struct Operators {
  static std::tuple<Tensor, Tensor, Tensor, Tensor> attention_fwd(
      const Tensor& q, const Tensor& k, const Tensor& v, const MaybeTensor& partner, const MaybeTensor& key_bias,
      const MaybeTensor& readout, double scale, bool causal, bool mean_map) {
    typename Device::Guard guard(q);
    Forward p{};
    check_attention(p, q, k, v, partner, key_bias, readout, scale, causal);
    STD_TORCH_CHECK(!(mean_map && partner.has_value()), "mean_map is not defined with partner");
    const ScalarType wide = wide_type(q);
    Tensor out = heads_buffer(q, p.B, p.H, p.M, p.D);
    Tensor lse = torch::stable::new_empty(q, {p.B, p.H, p.M}, wide);
    Tensor extra = torch::stable::new_empty(q, {p.B, p.H, p.M, p.G}, wide);
    Tensor map = torch::stable::new_empty(q, {mean_map ? p.B : 0, p.M, p.N}, wide);
    p.out = view_of(out);
    p.lse = lse.mutable_data_ptr();
    p.extra = p.G > 0 ? extra.mutable_data_ptr() : nullptr;
    p.map = mean_map ? map.mutable_data_ptr() : nullptr;
    if (mean_map && p.H == 0) torch::stable::zero_(map);
    if (p.B * p.H * p.M > 0) Device::forward(p, q);
    return {out, lse, extra, map};
  }

  static std::tuple<Tensor, Tensor, Tensor, Tensor> attention_bwd(
      const Tensor& dout, const MaybeTensor& dlse, const MaybeTensor& dextra, const Tensor& q, const Tensor& k,
      const Tensor& v, const Tensor& out, const Tensor& lse, const Tensor& extra, const MaybeTensor& partner,
      const MaybeTensor& inv_offsets, const MaybeTensor& inv_order, const MaybeTensor& key_bias,
      const MaybeTensor& readout, double scale, bool causal) {
    typename Device::Guard guard(q);
    Backward p{};
    check_attention(p, q, k, v, partner, key_bias, readout, scale, causal);
    check_heads(dout, q, "dout");
    check_heads(out, q, "out");
    for (int64_t i = 0; i < 4; ++i) {
      STD_TORCH_CHECK(dout.size(i) == q.size(i) && out.size(i) == q.size(i), "dout and out must have the shape of q");
    }
    check_statistic(lse, q, "lse");
    check_statistic(extra, q, "extra", p.G);
    if (dlse.has_value()) check_statistic(*dlse, q, "dlse");
    if (dextra.has_value()) check_statistic(*dextra, q, "dextra", p.G);
    if (partner.has_value()) {
      STD_TORCH_CHECK(inv_offsets.has_value() && inv_order.has_value(), "partner needs inv_offsets and inv_order");
      STD_TORCH_CHECK(
          inv_offsets->scalar_type() == ScalarType::Int && inv_order->scalar_type() == ScalarType::Int &&
              inv_offsets->numel() == p.B + 1 && inv_order->numel() == p.B && inv_offsets->is_contiguous() &&
              inv_order->is_contiguous() && inv_offsets->is_cpu() == q.is_cpu() && inv_order->is_cpu() == q.is_cpu(),
          "inv_offsets must be int32 [B + 1] and inv_order int32 [B], contiguous, on q's device");
      p.inv_offsets = static_cast<const int32_t*>(inv_offsets->const_data_ptr());
      p.inv_order = static_cast<const int32_t*>(inv_order->const_data_ptr());
    }
    Tensor dq = heads_buffer(q, p.B, p.H, p.M, p.D);
    Tensor dk = heads_buffer(q, p.B, p.Hkv, p.N, p.D);
    Tensor dv = heads_buffer(q, p.B, p.Hkv, p.N, p.D);
    p.dout = const_view(dout), p.out = const_view(out);
    p.dlse = data_or_null(dlse), p.dextra = data_or_null(dextra);
    p.lse = lse.const_data_ptr(), p.extra = extra.const_data_ptr();
    p.dq = view_of(dq), p.dk = view_of(dk), p.dv = view_of(dv);
    const bool shared = readout.has_value() && readout->dim() == 2;
    Tensor dreadout = torch::stable::new_empty(q, {p.B, p.Hkv, p.N, p.G}, wide_type(q));
    p.dreadout = p.G > 0 ? dreadout.mutable_data_ptr() : nullptr;
    if (p.B * p.H * p.M > 0) {
      Device::backward(p, q);
    } else {  // no query asks: nothing flows back
      torch::stable::zero_(dk), torch::stable::zero_(dv), torch::stable::zero_(dreadout);
    }
    return {dq, dk, dv, Device::sum_heads(dreadout, shared)};
  }

  static Tensor rollout(
      const std::vector<Tensor>& q, const std::vector<Tensor>& k, const std::vector<Tensor>& lse,
      const MaybeTensor& key_bias, double scale, double residual, int64_t row) {
    STD_TORCH_CHECK(
        !q.empty() && q.size() == k.size() && q.size() == lse.size(),
        "rollout needs one k and one lse for each q, and at least one layer");
    typename Device::Guard guard(q[0]);
    Rollout p{};
    p.residual = residual;
    Tensor weights;
    for (size_t depth = q.size(); depth-- > 0;) {
      check_scores(p, q[depth], k[depth], key_bias, scale, false);
      check_statistic(lse[depth], q[depth], "lse");
      STD_TORCH_CHECK(p.M == p.N, "rollout needs as many queries as keys, got ", p.M, " and ", p.N);
      if (!weights.defined()) {
        STD_TORCH_CHECK(row >= 0 && row < p.N, "row ", row, " must lie in [0, ", p.N, ")");
        weights = torch::stable::new_zeros(q[depth], {p.B, p.N}, wide_type(q[depth]));
        Tensor start = torch::stable::select(weights, 1, row);
        torch::stable::fill_(start, 1.0);
      }
      STD_TORCH_CHECK(
          weights.size(0) == p.B && weights.size(1) == p.N && weights.scalar_type() == wide_type(q[depth]),
          "layers of a rollout must agree in images, tokens and dtype");
      Tensor next = torch::stable::new_empty(weights, {p.B, p.N});
      p.lse = lse[depth].const_data_ptr();
      p.r_in = weights.const_data_ptr(), p.r_out = next.mutable_data_ptr();
      if (p.B > 0) Device::rollout_step(p, weights);
      weights = next;
    }
    return weights;
  }

  static Tensor mean_map(
      const Tensor& q, const Tensor& k, const Tensor& lse, const MaybeTensor& key_bias, double scale, bool causal) {
    typename Device::Guard guard(q);
    Rollout p{};
    check_scores(p, q, k, key_bias, scale, causal);
    check_statistic(lse, q, "lse");
    p.lse = lse.const_data_ptr();
    Tensor map = torch::stable::new_empty(q, {p.B, p.M, p.N}, wide_type(q));
    p.map = map.mutable_data_ptr();
    if (p.H == 0) torch::stable::zero_(map);
    if (p.B * p.H * p.M > 0) Device::mean_map(p, q);
    return map;
  }
};

}  // namespace vision_suite
