// The words kernels are written in, spelt for the GPU. cuda_ext/emulate/emulate.h spells the same words for a CPU, so that
// the kernels' own source can be tested where there is no GPU.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace vision_suite {

// Half-precision numbers as the bits they are.
struct Bf16 {
  uint16_t bits;
};
struct Fp16 {
  uint16_t bits;
};

using Stream = cudaStream_t;

__device__ __forceinline__ int thread_index() { return static_cast<int>(threadIdx.x); }
__device__ __forceinline__ int block_index() { return static_cast<int>(blockIdx.x); }
__device__ __forceinline__ void sync_block() { __syncthreads(); }
__device__ __forceinline__ void sync_warp() { __syncwarp(); }
__device__ __forceinline__ bool any_in_warp(bool wanted) { return __any_sync(0xffffffffu, wanted); }

template <class real>
__device__ __forceinline__ real shuffle_xor(real value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}

template <class real>
__device__ __forceinline__ real shuffle(real value, int lane) {
  return __shfl_sync(0xffffffffu, value, lane);
}

__device__ __forceinline__ unsigned char* shared_memory() {
  extern __shared__ __align__(16) unsigned char memory[];
  return memory;
}

// Where something lies in shared memory, as a number to reckon with: bytes.
using SharedAddress = uint32_t;

__device__ __forceinline__ SharedAddress shared_address(const void* at) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(at));
}

// 8 or 16 bytes from global to shared memory in the background; zeros, and no read at all, unless `valid`.
template <int kBytes>
__device__ __forceinline__ void copy_async(void* to, const void* from, bool valid) {
  const SharedAddress address = shared_address(to);
  const int bytes = valid ? kBytes : 0;
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes) : "memory");
  } else {
    static_assert(kBytes == 8, "8 or 16 bytes");
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(address), "l"(from), "r"(bytes) : "memory");
  }
}

__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most `kPending` of this thread's groups are under way.
template <int kPending>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Four 8 x 8 matrices of 16-bit numbers; lane i gives the address of row i % 8 of matrix i / 8 and gets, of each matrix,
// elements 2 (i % 4) and the next of row i / 4.
__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}

// The same of the transposed matrices.
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&to)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}

// c (16 x 8) += a (16 x 16) b (16 x 8); c0 and c1 lie in row lane / 4, c2 and c3 eight rows below.
__device__ __forceinline__ void multiply_add(
    Bf16, float& c0, float& c1, float& c2, float& c3, const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
               "{%0, %1, %2, %3};"
               : "+f"(c0), "+f"(c1), "+f"(c2), "+f"(c3)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ void multiply_add(
    Fp16, float& c0, float& c1, float& c2, float& c3, const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
               "{%0, %1, %2, %3};"
               : "+f"(c0), "+f"(c1), "+f"(c2), "+f"(c3)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Two numbers rounded to nearest even, the first in the low half.
__device__ __forceinline__ uint32_t pack_pair(Bf16, float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

__device__ __forceinline__ uint32_t pack_pair(Fp16, float low, float high) {
  uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

__device__ __forceinline__ float widen(Bf16 x) { return __uint_as_float(static_cast<uint32_t>(x.bits) << 16); }

__device__ __forceinline__ float widen(Fp16 x) {
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
  return wide;
}

// A product that no compiler makes part of a fused multiply-add, so that it is the same number wherever it is needed.
__device__ __forceinline__ float rounded_product(float a, float b) { return __fmul_rn(a, b); }

// 2^x to about two units in the last place, zero below 2^-126.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Start `kernel` on `blocks` blocks of a one-dimensional grid.
template <class Params>
void launch(
    void (*kernel)(Params), int64_t blocks, int threads, size_t shared_bytes, const Params& params, Stream stream) {
  if (blocks == 0) return;
  const auto must = [&](cudaError_t code) {
    if (code == cudaSuccess) return;
    throw std::runtime_error(
        "attention kernel (" + std::to_string(blocks) + " blocks, " + std::to_string(shared_bytes) +
        " bytes of shared memory each) did not start: " + cudaGetErrorString(code) +
        "; backend='reference' serves what this GPU cannot");
  };
  if (blocks > INT32_MAX) must(cudaErrorInvalidConfiguration);
  if (shared_bytes > 48 * 1024) {
    must(cudaFuncSetAttribute(
        reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
        static_cast<int>(shared_bytes)));
  }
  kernel<<<static_cast<unsigned>(blocks), threads, shared_bytes, stream>>>(params);
  must(cudaGetLastError());
}

}  // namespace vision_suite
