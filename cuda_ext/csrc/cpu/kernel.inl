// The algorithm, once for every instruction set: each isa_*.cpp sets its target, defines its lanes, and includes this file
// within an anonymous namespace.
#include "lanes.inl"
#include "gemm.inl"
#include "forward.inl"
#include "backward.inl"
#include "rollout.inl"

template <class P>
struct KernelsOf {
  static constexpr Kernels table{&forward<P>, &forward_map<P>, &backward<P>, &rollout<P>, &mean_map<P>};
};
