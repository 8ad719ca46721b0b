// The words of csrc/cuda/ptx.cuh on a CPU: every GPU thread is a fibre, a block runs to its end before the next begins.
//
// A fibre runs until it meets a barrier, a shuffle or a matrix instruction, so whatever one thread needs of another without
// such a meeting is missing here. Asynchronous copies land at once in one block and as late as they may in the next.
// Forgotten synchronisation so shows as wrong numbers. Fibres start in an order that differs from block to block. What this cannot show: speed, memory ordering
// within a warp, and mistakes this file shares with its author's reading of the PTX manual.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

namespace vision_suite {

using std::isfinite;
using std::max;
using std::min;

struct Bf16 {
  uint16_t bits;
};
struct Fp16 {
  uint16_t bits;
};

using Stream = void*;

namespace emulate {

constexpr size_t kStack = 256 * 1024;
constexpr int kWarp = 32;

struct PendingCopy {
  void* to;
  int size;
  unsigned char bytes[16];
};

struct Fibre {
  int thread = 0;
  ucontext_t start;
  jmp_buf at;
  bool started = false, finished = false, waits_block = false, waits_warp = false;
  std::unique_ptr<char[]> stack{new char[kStack]};
  std::vector<std::vector<PendingCopy>> groups{1};  // the last one is still open
  const void* given = nullptr;                      // what this lane brings to a meeting of its warp
  void* taken = nullptr;                            // where its result goes
};

// One block on its way; the fibres are kept from block to block.
struct Block {
  std::vector<std::unique_ptr<Fibre>> fibres;
  std::vector<unsigned char> shared;
  std::function<void()> body;
  Fibre* running = nullptr;
  jmp_buf scheduler;
  int threads = 0;
  int64_t index = 0, launches = 0;
  bool eager = false;  // asynchronous copies land at once, not as late as they may

  void pause() {
    if (_setjmp(running->at) == 0) _longjmp(scheduler, 1);
  }

  static void enter();

  void resume(Fibre& fibre) {
    running = &fibre;
    if (_setjmp(scheduler) != 0) return;
    if (fibre.started) _longjmp(fibre.at, 1);
    fibre.started = true;
    setcontext(&fibre.start);
  }

  void run(int64_t number) {
    index = number;
    eager = (number + launches) % 2 != 0;
    std::fill(shared.begin(), shared.end(), 0xff);  // NaN: nothing may be read before it is written
    for (int i = 0; i < threads; ++i) {
      Fibre& fibre = *fibres[i];
      fibre.thread = i;
      fibre.started = fibre.finished = fibre.waits_block = fibre.waits_warp = false;
      fibre.groups.assign(1, {});
      getcontext(&fibre.start);
      fibre.start.uc_stack.ss_sp = fibre.stack.get();
      fibre.start.uc_stack.ss_size = kStack;
      makecontext(&fibre.start, &Block::enter, 0);
    }
    const int64_t draw = number + launches / 2;
    const int turn = static_cast<int>(draw * 37 % threads);
    for (bool moved = true; moved;) {
      moved = false;
      int finished = 0, waiting = 0;
      for (int i = 0; i < threads; ++i) {
        const int place = (i + turn) % threads;
        Fibre& fibre = *fibres[draw % 2 == 0 ? place : threads - 1 - place];
        if (!fibre.finished && !fibre.waits_block && !fibre.waits_warp) {
          resume(fibre);
          moved = true;
        }
        finished += fibre.finished;
        waiting += fibre.waits_block;
      }
      if (waiting > 0 && waiting + finished == threads) {
        for (auto& fibre : fibres) fibre->waits_block = false;
        moved = true;
      }
      if (finished == threads) return;
    }
    std::fprintf(stderr, "emulated kernel stands still: threads of a block or warp wait at different places\n");
    std::abort();
  }
};

inline Block*& current() {
  static Block* block = nullptr;
  return block;
}

inline void Block::enter() {
  Block& block = *current();
  block.body();
  Fibre& fibre = *block.running;
  if (fibre.groups.size() > 1 || !fibre.groups.back().empty()) {
    // Copies nobody waited for land in memory the next block may own.
    for (auto& group : fibre.groups) {
      for (auto& copy : group) std::memcpy(copy.to, copy.bytes, copy.size);
    }
  }
  fibre.finished = true;
  _longjmp(block.scheduler, 1);
}

// All lanes of a warp come together; the last one does `work(lanes' fibres)` for all of them.
template <class Given, class Taken, class Work>
void meet(const Given& given, Taken& taken, const Work& work) {
  Block& block = *current();
  Fibre& own = *block.running;
  own.given = &given, own.taken = &taken, own.waits_warp = true;
  const int first = own.thread / kWarp * kWarp;
  for (int i = 0; i < kWarp; ++i) {
    if (!block.fibres[first + i]->waits_warp) return block.pause();
  }
  const Given* from[kWarp];
  Taken* to[kWarp];
  for (int i = 0; i < kWarp; ++i) {
    Fibre& fibre = *block.fibres[first + i];
    from[i] = static_cast<const Given*>(fibre.given), to[i] = static_cast<Taken*>(fibre.taken);
    fibre.waits_warp = false;
  }
  work(from, to);
}

inline float half_to_float(uint16_t bits) {
  _Float16 half;
  std::memcpy(&half, &bits, 2);
  return static_cast<float>(half);
}

inline uint16_t float_to_half(float x) {
  const _Float16 half = static_cast<_Float16>(x);
  uint16_t bits;
  std::memcpy(&bits, &half, 2);
  return bits;
}

inline float bits_to_float(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

inline uint16_t float_to_bf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if (x != x) return 0x7fff;
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline uint16_t half_of(uint32_t pair, int which) { return static_cast<uint16_t>(pair >> (16 * which)); }

}  // namespace emulate

inline int thread_index() { return emulate::current()->running->thread; }
inline int block_index() { return static_cast<int>(emulate::current()->index); }

inline void sync_block() {
  emulate::current()->running->waits_block = true;
  emulate::current()->pause();
}

inline void sync_warp() {
  int nothing = 0, none = 0;
  emulate::meet(nothing, none, [](auto&, auto&) {});
}

template <class real>
inline real shuffle_xor(real value, int mask) {
  real result = value;
  emulate::meet(value, result, [&](auto& from, auto& to) {
    for (int i = 0; i < emulate::kWarp; ++i) *to[i] = *from[i ^ mask];
  });
  return result;
}

template <class real>
inline real shuffle(real value, int lane) {
  struct Asked {
    real value;
    int lane;
  } asked{value, lane};
  real result = value;
  emulate::meet(asked, result, [](auto& from, auto& to) {
    for (int i = 0; i < emulate::kWarp; ++i) *to[i] = from[from[i]->lane & 31]->value;
  });
  return result;
}

inline bool any_in_warp(bool wanted) {
  bool result = false;
  emulate::meet(wanted, result, [](auto& from, auto& to) {
    const bool any = std::any_of(from, from + emulate::kWarp, [](const bool* x) { return *x; });
    for (bool* x : to) *x = any;
  });
  return result;
}

inline unsigned char* shared_memory() { return emulate::current()->shared.data(); }

using SharedAddress = uintptr_t;

inline SharedAddress shared_address(const void* at) { return reinterpret_cast<uintptr_t>(at); }

template <int kBytes>
inline void copy_async(void* to, const void* from, bool valid) {
  emulate::PendingCopy copy{to, kBytes, {}};
  if ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % kBytes != 0) {
    std::fprintf(stderr, "emulated cp.async of %d bytes with an address that is no multiple of it\n", kBytes);
    std::abort();
  }
  if (valid) std::memcpy(copy.bytes, from, kBytes);
  if (emulate::current()->eager) {
    std::memcpy(to, copy.bytes, kBytes);
    return;
  }
  emulate::current()->running->groups.back().push_back(copy);
}

inline void copy_async_commit() { emulate::current()->running->groups.emplace_back(); }

template <int kPending>
inline void copy_async_wait() {
  auto& groups = emulate::current()->running->groups;
  while (groups.size() > kPending + 1) {
    for (auto& copy : groups.front()) std::memcpy(copy.to, copy.bytes, copy.size);
    groups.erase(groups.begin());
  }
}

namespace emulate {

struct Four {
  uint32_t x[4];
};

inline void matrices(uint32_t (&to)[4], const void* row, bool transposed) {
  Four result{};
  const void* address = row;
  meet(address, result, [transposed](auto& from, auto& into) {
    for (int lane = 0; lane < kWarp; ++lane) {
      for (int m = 0; m < 4; ++m) {
        uint32_t pair = 0;
        for (int x = 0; x < 2; ++x) {
          int r = lane / 4, c = 2 * (lane % 4) + x;
          if (transposed) std::swap(r, c);
          pair |= static_cast<uint32_t>(static_cast<const uint16_t*>(*from[8 * m + r])[c]) << (16 * x);
        }
        into[lane]->x[m] = pair;
      }
    }
  });
  std::memcpy(to, result.x, sizeof(to));
}

struct Operands {
  float c[4];
  uint32_t a[4], b[2];
};

// mma.m16n8k16: a is [16, 16] in four 8 x 8 quarters (top left, bottom left, top right, bottom right), b [16, 8] in two
// halves of eight rows with column lane / 4, c [16, 8] in two.
template <class Widen>
inline void multiply(float& c0, float& c1, float& c2, float& c3, const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                     const Widen& widen) {
  const Operands given{{c0, c1, c2, c3}, {a[0], a[1], a[2], a[3]}, {b0, b1}};
  Four result{};
  meet(given, result, [&widen](auto& from, auto& to) {
    float left[16][16], right[16][8], sum[16][8];
    for (int lane = 0; lane < kWarp; ++lane) {
      const int group = lane / 4, place = lane % 4;
      for (int x = 0; x < 2; ++x) {
        for (int q = 0; q < 4; ++q) {
          left[group + 8 * (q % 2)][2 * place + x + 8 * (q / 2)] = widen(half_of(from[lane]->a[q], x));
        }
        for (int q = 0; q < 2; ++q) right[2 * place + x + 8 * q][group] = widen(half_of(from[lane]->b[q], x));
        for (int q = 0; q < 2; ++q) sum[group + 8 * q][2 * place + x] = from[lane]->c[2 * q + x];
      }
    }
    for (int i = 0; i < 16; ++i) {
      for (int k = 0; k < 16; ++k) {
        for (int j = 0; j < 8; ++j) sum[i][j] += left[i][k] * right[k][j];
      }
    }
    for (int lane = 0; lane < kWarp; ++lane) {
      for (int q = 0; q < 4; ++q) std::memcpy(&to[lane]->x[q], &sum[lane / 4 + 8 * (q / 2)][2 * (lane % 4) + q % 2], 4);
    }
  });
  c0 = bits_to_float(result.x[0]), c1 = bits_to_float(result.x[1]);
  c2 = bits_to_float(result.x[2]), c3 = bits_to_float(result.x[3]);
}

}  // namespace emulate

inline void load_matrices(uint32_t (&to)[4], SharedAddress row) {
  emulate::matrices(to, reinterpret_cast<const void*>(row), false);
}
inline void load_matrices_transposed(uint32_t (&to)[4], SharedAddress row) {
  emulate::matrices(to, reinterpret_cast<const void*>(row), true);
}

inline float widen(Bf16 x) { return emulate::bits_to_float(static_cast<uint32_t>(x.bits) << 16); }
inline float widen(Fp16 x) { return emulate::half_to_float(x.bits); }

template <class T>
inline void multiply_add(
    T, float& c0, float& c1, float& c2, float& c3, const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  emulate::multiply(c0, c1, c2, c3, a, b0, b1, [](uint16_t bits) { return widen(T{bits}); });
}

inline uint32_t pack_pair(Bf16, float low, float high) {
  return emulate::float_to_bf16(low) | static_cast<uint32_t>(emulate::float_to_bf16(high)) << 16;
}
inline uint32_t pack_pair(Fp16, float low, float high) {
  return emulate::float_to_half(low) | static_cast<uint32_t>(emulate::float_to_half(high)) << 16;
}

inline float rounded_product(float a, float b) {
  volatile float product = a * b;
  return product;
}

inline float exp2_fast(float x) {
  const float y = std::exp2(x);
  return y < 1.17549435e-38f ? 0.f : y;
}

template <class Params>
void launch(
    void (*kernel)(Params), int64_t blocks, int threads, size_t shared_bytes, const Params& params, Stream) {
  static emulate::Block block;
  emulate::current() = &block;
  block.threads = threads;
  ++block.launches;
  while (static_cast<int>(block.fibres.size()) < threads) block.fibres.push_back(std::make_unique<emulate::Fibre>());
  // Aligned like the GPU's; a guard of a kilobyte is behind it.
  std::vector<unsigned char>(shared_bytes + 1024, 0xff).swap(block.shared);
  block.body = [&] { kernel(params); };
  for (int64_t index = 0; index < blocks; ++index) {
    block.run(index);
    if (std::any_of(block.shared.begin() + shared_bytes, block.shared.end(), [](unsigned char x) { return x != 0xff; })) {
      std::fprintf(stderr, "emulated kernel wrote beyond its shared memory\n");
      std::abort();
    }
  }
}

}  // namespace vision_suite
