// Compiles one kernel file once per instruction set, in namespaces magnet::{anonymous}::{baseline, avx2, avx512}:
//
//   #define MAGNET_KERNEL_FILE "cpu/simd/margin_kernel.h"
//   #include "cpu/simd/foreach_isa.h"
//   ... MAGNET_BEST(margin_block<float>)(arguments) ...
//
// The kernel file sees simd.h's types and functions, includes no system header (put those before this one: a library
// function compiled for AVX-512 could be the copy that the linker keeps for everyone) and may include other kernel
// files, each once. This header has no guard on purpose; a source file includes it once.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "cpu/simd/isa.h"
#if MAGNET_X86
#include <immintrin.h>
#endif
#include "common/element.h"

#define MAGNET_INLINE inline __attribute__((always_inline))

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"                // vectors never cross a function that is not inlined
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC's own _mm512_undefined_ps
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace magnet {
namespace {
namespace baseline {
#define MAGNET_AVX2 0
#define MAGNET_AVX512 0
#include "cpu/simd/simd.h"
#include MAGNET_KERNEL_FILE
#undef MAGNET_AVX2
}  // namespace baseline

#if MAGNET_X86

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt")
#endif
namespace avx2 {
#define MAGNET_AVX2 1
#include "cpu/simd/simd.h"
#include MAGNET_KERNEL_FILE
#undef MAGNET_AVX512
}  // namespace avx2
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#if defined(__clang__)
#pragma clang attribute push(                                                                          \
    __attribute__((target("avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#endif
namespace avx512 {
#define MAGNET_AVX512 1
#include "cpu/simd/simd.h"
#include MAGNET_KERNEL_FILE
#undef MAGNET_AVX512
#undef MAGNET_AVX2
}  // namespace avx512
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif  // MAGNET_X86
}  // namespace
}  // namespace magnet

#if MAGNET_X86
#define MAGNET_BEST(...)                                           \
  (::magnet::isa() == ::magnet::Isa::avx512 ? &avx512::__VA_ARGS__ \
   : ::magnet::isa() == ::magnet::Isa::avx2 ? &avx2::__VA_ARGS__   \
                                            : &baseline::__VA_ARGS__)
#else
#define MAGNET_BEST(...) (&baseline::__VA_ARGS__)
#endif
