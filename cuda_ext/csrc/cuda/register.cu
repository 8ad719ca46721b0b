// The CUDA operators: scratch from torch's allocator, the current stream, and the module that is imported.
#include <Python.h>

#include <torch/csrc/stable/library.h>

#include "../operators.h"
#include "kernels.h"

#ifdef VISION_SUITE_EMULATE
#define VISION_SUITE_DISPATCH CPU
#else
#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>
#define VISION_SUITE_DISPATCH CUDA
#endif

#ifndef VISION_SUITE_STAMP
#error "build.py defines VISION_SUITE_STAMP: use python -m vision_suite.ops build"
#endif

namespace vision_suite {
namespace {

#ifdef VISION_SUITE_EMULATE
struct DeviceGuard {
  explicit DeviceGuard(const Tensor&) {}
};

StreamHandle stream_of(const Tensor&) { return nullptr; }
#else
struct DeviceGuard {
  torch::stable::accelerator::DeviceGuard guard;
  explicit DeviceGuard(const Tensor& tensor) : guard(tensor.get_device_index()) {}
};

StreamHandle stream_of(const Tensor& tensor) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream));
  return static_cast<StreamHandle>(stream);
}
#endif

struct CudaDevice {
  using Guard = DeviceGuard;

  static void forward(const Forward& p, const Tensor& like) {
    const StreamHandle stream = stream_of(like);
    cuda_forward(p, stream);
    if (p.map == nullptr) return;
    Rollout map{};
    static_cast<Attention&>(map) = p;
    map.lse = p.lse, map.map = p.map;
    cuda_mean_map(map, stream);
  }

  static void backward(const Backward& p, const Tensor& like) {
    const Tensor rows = torch::stable::new_empty(like, {p.B, p.H, p.M, 2}, wide_type(like));
    cuda_backward(p, rows.mutable_data_ptr(), stream_of(like));
  }

  static void rollout_step(const Rollout& p, const Tensor& like) {
    const Tensor partial = torch::stable::new_empty(like, {kHeadGroups, p.B, p.N}, wide_type(like));
    cuda_rollout_step(p, partial.mutable_data_ptr(), stream_of(like));
  }

  static void mean_map(const Rollout& p, const Tensor& like) { cuda_mean_map(p, stream_of(like)); }

  static Tensor sum_heads(const Tensor& partial, bool over_images) {
    const int64_t B = partial.size(0), heads = partial.size(1), N = partial.size(2), G = partial.size(3);
    Tensor sum = over_images ? torch::stable::new_empty(partial, {N, G}) : torch::stable::new_empty(partial, {B, N, G});
    cuda_sum_heads(
        partial.scalar_type() == ScalarType::Double, partial.const_data_ptr(), sum.mutable_data_ptr(), B, heads, N * G,
        over_images, stream_of(partial));
    return sum;
  }
};

using Cuda = Operators<CudaDevice>;

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vision_suite, VISION_SUITE_DISPATCH, m) {
  m.impl("attention_fwd", TORCH_BOX(&Cuda::attention_fwd));
  m.impl("attention_bwd", TORCH_BOX(&Cuda::attention_bwd));
  m.impl("rollout", TORCH_BOX(&Cuda::rollout));
  m.impl("mean_map", TORCH_BOX(&Cuda::mean_map));
}

}  // namespace vision_suite

#ifdef VISION_SUITE_EMULATE
extern "C" const char* vision_suite_cpu_isa() { return "cuda kernels, emulated"; }
#else
namespace {

PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT, "_C_cuda", "CUDA attention kernels of vision_suite.", -1, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__C_cuda(void) {
  PyObject* module = PyModule_Create(&module_definition);
  if (module != nullptr && PyModule_AddStringConstant(module, "STAMP", VISION_SUITE_STAMP) < 0) {
    Py_DECREF(module);
    return nullptr;
  }
  return module;
}
#endif
