// Which engine serves which dtype and head width, and how many read-out columns a kernel is compiled for.
#pragma once

#include <type_traits>

#include "mma.cuh"
#include "simt.cuh"

namespace vision_suite {

template <class T>
struct Type {
  using type = T;
};

template <class T, class F>
void with_half_engine(int64_t D, const F& f) {
  if (D <= 32) return f(Type<Mma<T, 32, 64>>{});
  if (D <= 64) return f(Type<Mma<T, 64, 64>>{});
  if (D <= 96) return f(Type<Mma<T, 96, 32>>{});
  if (D <= 128) return f(Type<Mma<T, 128, 32>>{});
  f(Type<Simt<T, float, 256, 16>>{});
}

// f(type of engine). Tiles are chosen so that a block's shared memory stays below the 99 KiB of the smallest GPUs served,
// but for double beyond 128 columns.
template <class F>
void with_engine(const Attention& p, const F& f) {
  switch (p.dtype) {
    case Scalar::bf16: return with_half_engine<Bf16>(p.D, f);
    case Scalar::f16: return with_half_engine<Fp16>(p.D, f);
    case Scalar::f32:
      if (p.D <= 64) return f(Type<Simt<float, float, 64, 64>>{});
      if (p.D <= 128) return f(Type<Simt<float, float, 128, 32>>{});
      return f(Type<Simt<float, float, 256, 16>>{});
    case Scalar::f64:
      if (p.D <= 64) return f(Type<Simt<double, double, 64, 32>>{});
      if (p.D <= 128) return f(Type<Simt<double, double, 128, 16>>{});
      return f(Type<Simt<double, double, 256, 16>>{});
  }
}

// f(number of read-out columns as a type): the next of 0, 2 (where it pays) and 8.
template <class E, class F>
void with_readouts(int64_t G, const F& f) {
  if (G == 0) return f(std::integral_constant<int, 0>{});
  if constexpr (E::kTensorCores) {
    if (G <= 2) return f(std::integral_constant<int, 2>{});
  }
  f(std::integral_constant<int, kMaxReadouts>{});
}

}  // namespace vision_suite
