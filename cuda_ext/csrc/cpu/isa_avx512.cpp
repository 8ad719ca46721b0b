// AVX-512 with float32 arithmetic.
#include "kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")

namespace vision_suite {
namespace {

#include "lanes_avx512.inl"

const KernelTable table{
    "avx512",
    {&KernelsOf<Wide<Lanes, float>>::table, nullptr, &KernelsOf<Wide<Lanes, Bf16>>::table,
     &KernelsOf<Wide<Lanes, Half>>::table}};

}  // namespace

const KernelTable* avx512_kernels() { return &table; }

}  // namespace vision_suite
#pragma GCC pop_options
#else
namespace vision_suite {
const KernelTable* avx512_kernels() { return nullptr; }
}  // namespace vision_suite
#endif
