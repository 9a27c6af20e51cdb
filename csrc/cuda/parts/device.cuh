// What CUDA kernels are written in, beside CUDA's own names (threadIdx.x, __syncthreads, __shfl_sync, ...): pointers,
// shared arrays, wide accesses, conversions and the few instructions that need PTX. Needs no torch.
//
// tests/ptx runs what nvcc makes of it. Blocks and grids have one dimension; a block is whole warps.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "common/element.h"
#include "common/portable.h"
#include "cuda/parts/launch.h"

// Starts a kernel: `template <...> MAGNET_KERNEL(256, 64) void name(...)` runs in blocks of 256 threads and must need
// no more than 64 registers, which tests/cuda/test_cuda_static.py holds it to. A third number: how many blocks a
// multiprocessor should have room for. Without it the compiler makes room for as many as it likes, and may spill a
// little to do so.
#define MAGNET_KERNEL(threads, registers, ...) __global__ __launch_bounds__(threads __VA_OPT__(, ) __VA_ARGS__)
#define MAGNET_DEVICE __device__ __forceinline__
// A shared array `name` of `count` (a constant) elements, aligned for any access; its content is undefined at first.
// Use as a Shared<T>.
#define MAGNET_SHARED(T, name, count) __shared__ __align__(16) T name[count]

namespace magnet {

// Pointers into device memory and into a shared array.
template <class T>
using Global = T*;
template <class T>
using Shared = T*;

// `elements` elements from `data` on may be accessed; for the arguments of a kernel. T may be const.
template <class T>
Global<T> global(const void* data, int64_t /*elements*/) {
  return static_cast<T*>(const_cast<void*>(data));
}

// --- wide accesses: N elements, 2 to 16 bytes in all, at an address that is a multiple of that

template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T value[N];  // index it with constants only
};

namespace detail {
template <int kBytes>
struct Word;
template <>
struct Word<2> {
  using type = unsigned short;
};
template <>
struct Word<4> {
  using type = unsigned int;
};
template <>
struct Word<8> {
  using type = uint2;
};
template <>
struct Word<16> {
  using type = uint4;
};
template <class T, int N>
using WordOf = typename Word<sizeof(T) * N>::type;
}  // namespace detail

template <int N, class T>
MAGNET_DEVICE Pack<T, N> load(const T* p) {
  return *reinterpret_cast<const Pack<T, N>*>(p);
}
template <int N, class T>
MAGNET_DEVICE void store(T* p, const Pack<T, N>& x) {
  using Word = detail::WordOf<T, N>;  // a Pack may be taken apart
  *reinterpret_cast<Word*>(p) = *reinterpret_cast<const Word*>(&x);
}
// For memory that is touched once: the first to leave the caches.
template <int N, class T>
MAGNET_DEVICE Pack<T, N> load_once(const T* p) {
  using Word = detail::WordOf<T, N>;
  const Word word = __ldcs(reinterpret_cast<const Word*>(p));
  Pack<T, N> x;
  *reinterpret_cast<Word*>(&x) = word;
  return x;
}
template <int N, class T>
MAGNET_DEVICE void store_once(T* p, const Pack<T, N>& x) {
  using Word = detail::WordOf<T, N>;
  __stcs(reinterpret_cast<Word*>(p), *reinterpret_cast<const Word*>(&x));
}

// The same pointer as one that the compiler knows nothing of: it keeps this value, instead of others to derive it from.
template <class T>
MAGNET_DEVICE T* opaque(T* p) {
  size_t address = __cvta_generic_to_global(p);
  asm volatile("" : "+l"(address));
  return static_cast<T*>(__cvta_global_to_generic(address));
}

// The same for a number: what is computed from it stays where it is written, in a loop too.
MAGNET_DEVICE int64_t opaque(int64_t x) {
  asm volatile("" : "+l"(x));
  return x;
}

// --- between kernels

// A kernel that begins early (launch_after) must call this before it touches global memory: the one ahead of it in the
// stream still runs. From here on all that earlier kernels wrote is there. (Before sm_90 none begins early.)
MAGNET_DEVICE void wait_for_earlier_kernels() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// From now on the next kernel may begin early, as blocks end and make room. Worth calling at once.
MAGNET_DEVICE void let_next_kernel_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// --- between blocks

// A word that another block may write meanwhile, and nothing else of what it wrote: no fence, no cache is emptied.
MAGNET_DEVICE uint64_t load_relaxed(const uint64_t* p) {
  uint64_t x;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(x) : "l"(p) : "memory");
  return x;
}
// For words that another block reads meanwhile, and elements that several threads may write at once, the same value all
// of them.
MAGNET_DEVICE void store_relaxed(uint16_t* p, uint16_t x) {
  asm volatile("st.relaxed.gpu.global.u16 [%0], %1;" ::"l"(p), "h"(x) : "memory");
}
MAGNET_DEVICE void store_relaxed(uint32_t* p, uint32_t x) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(x) : "memory");
}
MAGNET_DEVICE void store_relaxed(uint64_t* p, uint64_t x) {
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(p), "l"(x) : "memory");
}
// Call in the loop that waits for another block.
MAGNET_DEVICE void back_off() { __nanosleep(20); }

// Return the value from before. On global or shared memory.
MAGNET_DEVICE uint32_t atomic_add(uint32_t* p, uint32_t x) { return atomicAdd(p, x); }
MAGNET_DEVICE uint64_t atomic_add(uint64_t* p, uint64_t x) {
  return atomicAdd(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(x));
}
MAGNET_DEVICE uint32_t atomic_or(uint32_t* p, uint32_t x) { return atomicOr(p, x); }
// Adds to global memory and returns nothing, so that nothing waits for it: RED, where atomic_add is compiled to ATOMG.
MAGNET_DEVICE void add_relaxed(uint32_t* p, uint32_t x) {
  asm volatile("red.relaxed.gpu.global.add.u32 [%0], %1;" ::"l"(p), "r"(x) : "memory");
}
// Add one to shared memory, and return nothing. Of a constant 1 the compiler makes an instruction that takes the
// addresses of a warp in turn, all lanes of an address at once: for few addresses. Of a 1 that it does not know it
// makes one that takes all addresses at once, the lanes of each in turn: for many.
MAGNET_DEVICE void add_one_to_few(uint32_t* p) { atomicAdd(p, 1u); }
MAGNET_DEVICE void add_one_to_many(uint32_t* p) {
  asm volatile("red.shared.add.u32 [%0], %1;" ::"r"(static_cast<uint32_t>(__cvta_generic_to_shared(p))),
               "r"(min(gridDim.x, 1u))
               : "memory");
}
// Puts x in the place of `expected`; of anything else it leaves it.
MAGNET_DEVICE uint32_t atomic_cas(uint32_t* p, uint32_t expected, uint32_t x) { return atomicCAS(p, expected, x); }

// --- arithmetic. Contraction is off (-fmad=false): write fmaf where a fused step is wanted

template <class T>
MAGNET_DEVICE float to_float(T x) {
  return static_cast<float>(x);
}
template <>
MAGNET_DEVICE float to_float(Half x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
template <>
MAGNET_DEVICE float to_float(BFloat16 x) {
  return __uint_as_float(static_cast<uint32_t>(x.bits) << 16);
}

// To the nearest, halves to even.
template <class T>
MAGNET_DEVICE T from_float(float x) {
  return static_cast<T>(x);
}
template <>
MAGNET_DEVICE Half from_float(float x) {
  Half y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
template <>
MAGNET_DEVICE BFloat16 from_float(float x) {
  BFloat16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}

// The larger; NaN where either is. (fmaxf and fminf give the other one.)
MAGNET_DEVICE float max_nan(float a, float b) {
  float y;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
  return y;
}
// The same for both halves of a word, T being Half or BFloat16.
template <class T>
MAGNET_DEVICE uint32_t max_nan_pair(uint32_t a, uint32_t b) {
  uint32_t y;
  if constexpr (std::is_same_v<T, Half>) {
    asm("max.NaN.f16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
  } else {
    asm("max.NaN.bf16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
  }
  return y;
}
// fmaxf and fminf of both halves.
template <class T>
MAGNET_DEVICE uint32_t max_pair(uint32_t a, uint32_t b) {
  uint32_t y;
  if constexpr (std::is_same_v<T, Half>) {
    asm("max.f16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
  } else {
    asm("max.bf16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
  }
  return y;
}
template <class T>
MAGNET_DEVICE uint32_t min_pair(uint32_t a, uint32_t b) {
  uint32_t y;
  if constexpr (std::is_same_v<T, Half>) {
    asm("min.f16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
  } else {
    asm("min.bf16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
  }
  return y;
}
// 2^x to 2 ulp, denormal results are 0.
MAGNET_DEVICE float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// 1 / x to 1 ulp.
MAGNET_DEVICE float reciprocal_fast(float x) {
  float y;
  asm("rcp.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
MAGNET_DEVICE uint32_t float_bits(float x) { return __float_as_uint(x); }
MAGNET_DEVICE float bits_float(uint32_t x) { return __uint_as_float(x); }

// --- the host side

inline void check_cuda(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw std::runtime_error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(status));
}

// Whether a kernel may begin before the one ahead of it in the stream has ended: on a GPU that can (from 9.0 on), for
// whose major version this file was compiled, since what the driver makes of older PTX does not wait; and under a
// driver that can capture it in a graph (from CUDA 12.3 on).
inline bool kernels_begin_early(const Stream& stream) {
  int major = 0, driver = 0;
  check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, stream.device), "compute capability");
  check_cuda(cudaDriverGetVersion(&driver), "version of the driver");
  const bool compiled = MAGNET_MAJORS >> major & 1;  // a bit for each, from build_nvcc.py
  return major >= 9 && compiled && driver >= 12030;
}

// How many blocks may usefully run at once for each of `kernel`'s full residency: the number of multiprocessors.
inline int multiprocessors(const Stream& stream) {
  int count = 0;
  check_cuda(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, stream.device), "multiprocessors");
  return count;
}

// Runs kernel(arguments...) in `blocks` blocks of `threads` threads. Does not wait for it. begins_early: before the
// kernel ahead of it has ended, where the GPU can; it must call wait_for_earlier_kernels(), and the one ahead must be
// of the same operator: another's might end before those ahead of it have.
template <class... Parameters, class... Arguments>
void launch_after(bool begins_early, const char* name, void (*kernel)(Parameters...), int64_t blocks, int threads,
                  const Stream& stream, const Arguments&... arguments) {
  if (blocks == 0) return;
  if (blocks > INT32_MAX) throw std::runtime_error(std::string(name) + ": too large for one launch");
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.stream = static_cast<cudaStream_t>(stream.handle);
  config.attrs = &attribute;
  config.numAttrs = begins_early && kernels_begin_early(stream) ? 1 : 0;
  check_cuda(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...), name);
}
// The same for an operator's first kernel, and for those that do not begin early.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), int64_t blocks, int threads, const Stream& stream,
            const Arguments&... arguments) {
  launch_after(false, name, kernel, blocks, threads, stream, arguments...);
}

}  // namespace magnet
