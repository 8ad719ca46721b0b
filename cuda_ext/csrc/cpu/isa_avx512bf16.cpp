// AVX-512 with the bfloat16 dot product: bfloat16 tensors are multiplied as they are, two at a time, sums stay float32.
// The other types are those of isa_avx512.cpp.
#include "kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")

namespace vision_suite {
namespace {

#include "lanes_avx512.inl"

#include "native_bf16.inl"

struct Native : PairedWords {
  static int64_t words(int64_t n) { return (n + 1) / 2; }
  static constexpr int64_t rows = 1, keys = Lanes::W;
};

const KernelTable table{
    "avx512_bf16", {nullptr, nullptr, &KernelsOf<Native>::table, nullptr}};

}  // namespace

const KernelTable* avx512_bf16_kernels() { return &table; }

}  // namespace vision_suite
#pragma GCC pop_options
#else
namespace vision_suite {
const KernelTable* avx512_bf16_kernels() { return nullptr; }
}  // namespace vision_suite
#endif
