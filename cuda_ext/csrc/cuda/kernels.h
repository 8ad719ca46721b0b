// Host entry points of the CUDA kernels; each starts work on a stream and returns at once.
#pragma once

#include "../params.h"

namespace vision_suite {

#ifdef VISION_SUITE_EMULATE
using StreamHandle = void*;
#else
using StreamHandle = struct CUstream_st*;
#endif

// Heads of a rollout step are summed in this many groups at most, side by side: few images would not fill a GPU. The
// number depends on nothing else, so that an image gives the same bits alone and in a batch.
constexpr int kHeadGroups = 4;

void cuda_forward(const Forward& p, StreamHandle stream);

// `rows` [B, H, M, 2] of q's wide type is scratch.
void cuda_backward(const Backward& p, void* rows, StreamHandle stream);

// `partial` [kHeadGroups, B, N] of q's wide type is scratch.
void cuda_rollout_step(const Rollout& p, void* partial, StreamHandle stream);

void cuda_mean_map(const Rollout& p, StreamHandle stream);

// partial [B, heads, size] to [B, size], or to [size] over images too, in a fixed order.
void cuda_sum_heads(
    bool is_double, const void* partial, void* sum, int64_t B, int64_t heads, int64_t size, bool over_images,
    StreamHandle stream);

}  // namespace vision_suite
