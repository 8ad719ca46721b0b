// Operator definitions and the Python module of the CPU library. Kernels register themselves.
#include <Python.h>

#include <torch/csrc/stable/library.h>

#ifndef VISION_SUITE_STAMP
#error "build.py defines VISION_SUITE_STAMP: use python -m vision_suite.ops build"
#endif

// Raised with every change of a schema below; the loader refuses a library of another version.
#define VISION_SUITE_SCHEMA_VERSION 1

STABLE_TORCH_LIBRARY(vision_suite, m) {
  m.def(
      "attention_fwd(Tensor q, Tensor k, Tensor v, Tensor? partner, Tensor? key_bias, Tensor? readout, float scale, "
      "bool causal, bool mean_map) -> (Tensor out, Tensor lse, Tensor extra, Tensor mean_map)");
  m.def(
      "attention_bwd(Tensor dout, Tensor? dlse, Tensor? dextra, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse, "
      "Tensor extra, Tensor? partner, Tensor? inv_offsets, Tensor? inv_order, Tensor? key_bias, Tensor? readout, "
      "float scale, bool causal) -> (Tensor dq, Tensor dk, Tensor dv, Tensor dreadout)");
  m.def(
      "rollout(Tensor[] q, Tensor[] k, Tensor[] lse, Tensor? key_bias, float scale, float residual, int row) -> Tensor");
  m.def("mean_map(Tensor q, Tensor k, Tensor lse, Tensor? key_bias, float scale, bool causal) -> Tensor");
}

extern "C" const char* vision_suite_cpu_isa();

namespace {

PyModuleDef module_definition = {PyModuleDef_HEAD_INIT, "_C", "Attention operators of vision_suite.", -1, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__C(void) {
  PyObject* module = PyModule_Create(&module_definition);
  if (module == nullptr || PyModule_AddStringConstant(module, "STAMP", VISION_SUITE_STAMP) < 0 ||
      PyModule_AddStringConstant(module, "CPU_ISA", vision_suite_cpu_isa()) < 0 ||
      PyModule_AddIntConstant(module, "SCHEMA_VERSION", VISION_SUITE_SCHEMA_VERSION) < 0) {
    Py_XDECREF(module);
    return nullptr;
  }
  return module;
}
