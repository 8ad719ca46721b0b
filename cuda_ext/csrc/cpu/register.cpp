// The CPU operators: which instruction set, how work is shared out over threads, and the order of sums over heads.
#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "../operators.h"
#include "kernel.h"

namespace vision_suite {

char* thread_scratch(size_t bytes) {
  struct Buffer {
    char* data = nullptr;
    size_t size = 0;
    ~Buffer() { std::free(data); }
  };
  static thread_local Buffer buffer;
  if (buffer.size < bytes) {
    std::free(buffer.data);
    buffer.size = (bytes + 4095) / 4096 * 4096;
    buffer.data = static_cast<char*>(std::aligned_alloc(64, buffer.size));
    if (buffer.data == nullptr) {
      buffer.size = 0;
      throw std::bad_alloc();
    }
  }
  return buffer.data;
}

namespace {

#if defined(__x86_64__) && defined(__linux__)
// Whether the processor has AMX for bfloat16 and the kernel lets this process use it.
bool tiles_granted() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kTile = 1u << 24, kTileBf16 = 1u << 22;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kTile) == 0 || (d & kTileBf16) == 0) return false;
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#else
bool tiles_granted() { return false; }
#endif

// Ordered: each instruction set falls back on the one before for the types it has no kernels of.
std::vector<const KernelTable*> available() {
  std::vector<const KernelTable*> tables = {scalar_kernels()};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) {
    tables.push_back(avx2_kernels());
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
      tables.push_back(avx512_kernels());
      if (__builtin_cpu_supports("avx512bf16")) {
        tables.push_back(avx512_bf16_kernels());
        if (tiles_granted()) tables.push_back(amx_kernels());
      }
    }
  }
#endif
  return tables;
}

struct Chosen {
  std::string isa;
  const Kernels* of[4] = {};

  Chosen() {
    const char* wanted = std::getenv("VISION_SUITE_CPU_ISA");
    for (const KernelTable* table : available()) {
      isa = table->isa;
      for (int type = 0; type < 4; ++type) {
        if (table->of[type] != nullptr) of[type] = table->of[type];
      }
      if (wanted != nullptr && isa == wanted) break;
    }
  }
};

const Chosen& chosen() {
  static const Chosen choice;
  return choice;
}

const Kernels& kernels(Scalar type) { return *chosen().of[static_cast<int>(type)]; }

// f(image, first row, last row) over all images; rows are split too where there are fewer images than threads.
template <class F>
void over_images(int64_t images, int64_t rows, const F& f) {
  const int64_t threads = torch::stable::get_num_threads();
  const int64_t parts = images >= threads ? 1 : std::min((threads + images - 1) / images, (rows + 47) / 48);
  torch::stable::parallel_for(0, images * parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t part = task % parts;
      f(task / parts, rows * part / parts, rows * (part + 1) / parts);
    }
  });
}

template <class real>
void sum_rollout_heads(const Rollout& p, const real* heads) {
  const auto* before = static_cast<const real*>(p.r_in);
  auto* after = static_cast<real*>(p.r_out);
  for (int64_t b = 0; b < p.B; ++b) {
    for (int64_t j = 0; j < p.N; ++j) {
      real sum = 0;
      for (int64_t h = 0; h < p.H; ++h) sum += heads[(b * p.H + h) * p.N + j];
      const real mean = p.H > 0 ? sum / static_cast<real>(p.H) : 0;
      after[b * p.N + j] =
          static_cast<real>(p.residual) * before[b * p.N + j] + static_cast<real>(1 - p.residual) * mean;
    }
  }
}

template <class real>
void sum_readout_heads(const real* partial, int64_t B, int64_t Hkv, int64_t size, bool over_images, real* to) {
  for (int64_t i = 0; i < (over_images ? 1 : B) * size; ++i) to[i] = 0;
  for (int64_t b = 0; b < B; ++b) {
    for (int64_t h = 0; h < Hkv; ++h) {
      for (int64_t i = 0; i < size; ++i) to[(over_images ? 0 : b) * size + i] += partial[(b * Hkv + h) * size + i];
    }
  }
}

struct CpuDevice {
  struct Guard {
    explicit Guard(const Tensor&) {}
  };

  static void forward(const Forward& p, const Tensor& like) {
    const Kernels& run = kernels(p.dtype);
    const int64_t columns = p.N * (p.partner == nullptr ? 1 : 2);
    // A row's probabilities are final only if its softmax is taken at once.
    const bool joint = columns + 64 <= kJointKeys;
    if (p.map != nullptr && joint) {
      over_images(p.B, p.M, [&](int64_t b, int64_t first, int64_t last) { run.forward_map(p, b, first, last); });
      return;
    }
    torch::stable::parallel_for(0, p.B * p.H, 1, [&](int64_t begin, int64_t end) { run.forward(p, begin, end); });
    if (p.map != nullptr) {
      Rollout map{};
      static_cast<Attention&>(map) = p;
      map.lse = p.lse, map.map = p.map;
      mean_map(map, like);
    }
  }

  static void backward(const Backward& p, const Tensor&) {
    const Kernels& run = kernels(p.dtype);
    const bool wide = p.dtype == Scalar::f32 || p.dtype == Scalar::f64, summed = !wide && p.partner != nullptr;
    Gradients to{p.dq, p.dk, p.dv, wide};
    std::vector<float> buffer;
    if (summed) {
      const int64_t queries = p.B * p.H * p.M * p.D, keys = p.B * p.Hkv * p.N * p.D;
      buffer.resize(queries + 2 * keys);
      to.dq = {buffer.data(), p.H * p.M * p.D, p.M * p.D, p.D};
      to.dk = {buffer.data() + queries, p.Hkv * p.N * p.D, p.N * p.D, p.D};
      to.dv = {buffer.data() + queries + keys, p.Hkv * p.N * p.D, p.N * p.D, p.D};
      to.wide = true;
    }
    for (const bool partners : {false, true}) {
      if (partners && p.partner == nullptr) continue;
      torch::stable::parallel_for(0, p.B * p.Hkv, 1, [&](int64_t begin, int64_t end) {
        run.backward(p, to, begin, end, partners);
      });
    }
    if (summed) {
      narrow(to.dq, p.dq, p, p.H, p.M);
      narrow(to.dk, p.dk, p, p.Hkv, p.N);
      narrow(to.dv, p.dv, p, p.Hkv, p.N);
    }
  }

  static void rollout_step(const Rollout& p, const Tensor&) {
    if (p.dtype == Scalar::f64) return step<double>(p);
    step<float>(p);
  }

  static void mean_map(const Rollout& p, const Tensor&) {
    over_images(p.B, p.M, [&](int64_t b, int64_t first, int64_t last) { kernels(p.dtype).mean_map(p, b, first, last); });
  }

  static Tensor sum_heads(const Tensor& partial, bool over_images) {
    const int64_t B = partial.size(0), Hkv = partial.size(1), N = partial.size(2), G = partial.size(3);
    Tensor sum = over_images ? torch::stable::new_empty(partial, {N, G}) : torch::stable::new_empty(partial, {B, N, G});
    if (partial.scalar_type() == ScalarType::Double) {
      sum_readout_heads(
          static_cast<const double*>(partial.const_data_ptr()), B, Hkv, N * G, over_images,
          static_cast<double*>(sum.mutable_data_ptr()));
    } else {
      sum_readout_heads(
          static_cast<const float*>(partial.const_data_ptr()), B, Hkv, N * G, over_images,
          static_cast<float*>(sum.mutable_data_ptr()));
    }
    return sum;
  }

 private:
  template <class real>
  static void step(const Rollout& p) {
    std::vector<real> heads(p.B * p.H * p.N);
    torch::stable::parallel_for(0, p.B * p.H, 1, [&](int64_t begin, int64_t end) {
      kernels(p.dtype).rollout(p, heads.data(), begin, end);
    });
    sum_rollout_heads(p, heads.data());
  }

  // Float sums to the half-precision result.
  static void narrow(const View& from, const View& to, const Attention& p, int64_t heads, int64_t rows) {
    torch::stable::parallel_for(0, p.B * heads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t b = task / heads, h = task % heads;
        for (int64_t n = 0; n < rows; ++n) {
          const float* x = static_cast<const float*>(from.data) + b * from.b + h * from.h + n * from.n;
          narrow_row(p.dtype, x, p.D, static_cast<uint16_t*>(to.data) + b * to.b + h * to.h + n * to.n);
        }
      }
    });
  }

  static void narrow_row(Scalar type, const float* x, int64_t n, uint16_t* y) {
    for (int64_t i = 0; i < n; ++i) {
      y[i] = type == Scalar::bf16 ? c10::BFloat16(x[i]).x : c10::Half(x[i]).x;
    }
  }
};

using Cpu = Operators<CpuDevice>;

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vision_suite, CPU, m) {
  m.impl("attention_fwd", TORCH_BOX(&Cpu::attention_fwd));
  m.impl("attention_bwd", TORCH_BOX(&Cpu::attention_bwd));
  m.impl("rollout", TORCH_BOX(&Cpu::rollout));
  m.impl("mean_map", TORCH_BOX(&Cpu::mean_map));
}

}  // namespace vision_suite

// Read by schema.cpp: the instruction set in use.
extern "C" const char* vision_suite_cpu_isa() { return vision_suite::chosen().isa.c_str(); }
