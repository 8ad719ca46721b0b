// What both backward kernels read, and their call.
#pragma once

#include "engines.cuh"
#include "kernels.h"

namespace vision_suite {

struct BackwardCall : Backward {
  void* rows;  // [B, H, M] of Row
};

// What a query brings to all of its keys.
template <class real>
struct alignas(2 * sizeof(real)) Row {
  real lse, delta;  // lse as `subtracted`
};

template <class real>
__device__ __forceinline__ const Row<real>* rows_at(const BackwardCall& p, int64_t b, int64_t h) {
  return static_cast<const Row<real>*>(p.rows) + (b * p.H + h) * p.M;
}

// Parts of cuda_backward: delta and dQ by query tile; dK, dV and the read-outs' gradient by key tile.
void cuda_backward_queries(const BackwardCall& p, StreamHandle stream);
void cuda_backward_keys(const BackwardCall& p, StreamHandle stream);

// Whether there may be queries that see nothing, whose rows are then not read.
__device__ __forceinline__ bool may_see_nothing(const Attention& p) { return p.bias != nullptr || p.causal || p.N == 0; }

template <class real>
__device__ __forceinline__ bool sees(const Row<real>& row) {
  return row.lse != -minus_infinity<real>();
}

template <class real>
__device__ __forceinline__ real dextra_of(const Backward& p, int64_t row, int64_t i, int64_t g) {
  const bool there = p.dextra != nullptr && i < p.M && g < p.G;
  return there ? static_cast<const real*>(p.dextra)[(row + i) * p.G + g] : real(0);
}

template <class real>
__device__ __forceinline__ real readout_of(const Attention& p, int64_t t, int64_t j, int64_t g) {
  const bool there = g < p.G && key_is_read<real>(p, t, j);
  return there ? static_cast<const real*>(p.readout)[t * p.readout_b + j * p.readout_n + g] : real(0);
}

}  // namespace vision_suite
