// What the files of the instruction sets give to register.cpp. No standard library in here or in anything that is compiled
// for one instruction set: an inline function of it, compiled with AVX-512, may be the copy that the linker keeps.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../params.h"

namespace vision_suite {

// Where gradients of one call go. Half-precision results that are summed in two phases (partner) need a float buffer.
struct Gradients {
  View dq, dk, dv;
  bool wide;  // the views hold float (double) instead of q's type
};

// The kernels of one instruction set for one type. Heads are numbered b * H + h (key heads b * Hkv + h).
struct Kernels {
  void (*forward)(const Forward&, int64_t begin, int64_t end);                                     // heads
  void (*forward_map)(const Forward&, int64_t image, int64_t row_begin, int64_t row_end);          // all heads, map too
  void (*backward)(const Backward&, const Gradients&, int64_t begin, int64_t end, bool partners);  // key heads
  void (*rollout)(const Rollout&, void* heads, int64_t begin, int64_t end);                        // heads [B, H, N]
  void (*mean_map)(const Rollout&, int64_t image, int64_t row_begin, int64_t row_end);
};

struct KernelTable {
  const char* isa;
  const Kernels* of[4];  // by Scalar
};

const KernelTable* scalar_kernels();
const KernelTable* avx2_kernels();         // null where the compiler cannot make them
const KernelTable* avx512_kernels();       // these are for x86 only
const KernelTable* avx512_bf16_kernels();
const KernelTable* amx_kernels();          // Linux only: the kernel must be asked for the tiles

// Memory of the calling thread, 64-byte aligned; grows, and stays until the thread ends.
char* thread_scratch(size_t bytes);

constexpr int64_t kJointKeys = 4096;  // up to so many padded keys a row's softmax is taken at once,
constexpr int64_t kKeyBlock = 1024;   // beyond in blocks of so many with rescaling

}  // namespace vision_suite
