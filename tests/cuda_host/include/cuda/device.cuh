// csrc/cuda/device.cuh for the host model: the same names, on the CPU, with every access checked. Found in its place on
// the include path of tests/cuda_host/build.py.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>

#include "common/element.h"
#include "common/portable.h"
#include "cuda/launch.h"
#include "host_model/arithmetic.h"
#include "host_model/engine.h"
#include "host_model/memory.h"
#include "host_model/warp.h"

#define MAGNET_KERNEL(threads, registers, ...) inline __attribute__((noinline))
#define MAGNET_DEVICE inline
#define MAGNET_SHARED(T, name, count)               \
  static char name##_magnet_site;                   \
  [[maybe_unused]] const ::magnet::Shared<T> name = \
      ::magnet::host_model::shared_array<T, (count)>(&name##_magnet_site, #name)

namespace magnet {

template <class T>
using Global = host_model::Pointer<T, host_model::Space::global>;
template <class T>
using Shared = host_model::Pointer<T, host_model::Space::shared>;

template <class T>
Global<T> global(const void* data, int64_t elements) {
  if (elements < 0 || (!data && elements > 0)) throw std::runtime_error("global: no memory for that many elements");
  const char* begin = static_cast<const char*>(data);
  return {static_cast<T*>(const_cast<void*>(data)), {begin, begin + elements * static_cast<int64_t>(sizeof(T))}};
}

// --- wide accesses

template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T value[N];
};

template <int N, class T, host_model::Space S>
Pack<T, N> load(const host_model::Pointer<const T, S>& p,
                const std::source_location& at = std::source_location::current()) {
  static_assert(sizeof(T) * N <= 16 && sizeof(T) * N >= 2);
  host_model::check<host_model::Access::read, N>(p.address(), p.range(), at);
  Pack<T, N> x;
  std::memcpy(&x, p.address(), sizeof(x));
  return x;
}
template <int N, class T, host_model::Space S>
void store(const host_model::Pointer<T, S>& p, const Pack<T, N>& x,
           const std::source_location& at = std::source_location::current()) {
  static_assert(sizeof(T) * N <= 16 && sizeof(T) * N >= 2);
  host_model::check<host_model::Access::write, N>(p.address(), p.range(), at);
  std::memcpy(static_cast<void*>(p.address()), &x, sizeof(x));
}
template <int N, class T>
Pack<T, N> load_once(const Global<const T>& p, const std::source_location& at = std::source_location::current()) {
  return load<N>(p, at);
}
template <int N, class T>
void store_once(const Global<T>& p, const Pack<T, N>& x,
                const std::source_location& at = std::source_location::current()) {
  store<N>(p, x, at);
}

// Needless here: it guides nvcc.
template <class T, host_model::Space S>
host_model::Pointer<T, S> opaque(const host_model::Pointer<T, S>& p) {
  return p;
}

template <class T>
Global<T> opaque(const Global<T>& p) {
  return p;
}

// --- between blocks

inline uint64_t load_acquire(const Global<const uint64_t>& p,
                             const std::source_location& at = std::source_location::current()) {
  host_model::check<host_model::Access::read, 1>(p.address(), p.range(), at, true);
  if (++host_model::current.acquires == host_model::kAcquiresInARow) {
    host_model::fail("load_acquire in an endless loop without back_off()", at);
  }
  return *p.address();
}
inline void store_release(const Global<uint64_t>& p, uint64_t x,
                          const std::source_location& at = std::source_location::current()) {
  host_model::check<host_model::Access::write, 1>(p.address(), p.range(), at, true);
  ++host_model::current.progress;
  *p.address() = x;
}
template <class T>
void store_relaxed(const Global<T>& p, std::type_identity_t<T> x,
                   const std::source_location& at = std::source_location::current()) {
  host_model::check<host_model::Access::atomic, 1>(p.address(), p.range(), at);
  *p.address() = x;
}
inline void back_off(const std::source_location& at = std::source_location::current()) { host_model::back_off(at); }

namespace host_model {
template <class T, Space S, class Update>
T atomic(const Pointer<T, S>& p, const Location& at, Update update) {
  check<Access::atomic, 1>(p.address(), p.range(), at);
  const T before = *p.address();
  const T after = update(before);
  if (after != before) ++current.progress;
  *p.address() = after;
  return before;
}
}  // namespace host_model

template <host_model::Space S>
uint32_t atomic_add(const host_model::Pointer<uint32_t, S>& p, uint32_t x,
                    const std::source_location& at = std::source_location::current()) {
  return host_model::atomic(p, at, [=](uint32_t before) { return before + x; });
}
template <host_model::Space S>
uint64_t atomic_add(const host_model::Pointer<uint64_t, S>& p, uint64_t x,
                    const std::source_location& at = std::source_location::current()) {
  return host_model::atomic(p, at, [=](uint64_t before) { return before + x; });
}
template <host_model::Space S>
uint32_t atomic_or(const host_model::Pointer<uint32_t, S>& p, uint32_t x,
                   const std::source_location& at = std::source_location::current()) {
  return host_model::atomic(p, at, [=](uint32_t before) { return before | x; });
}
template <host_model::Space S>
uint32_t atomic_cas(const host_model::Pointer<uint32_t, S>& p, uint32_t expected, uint32_t x,
                    const std::source_location& at = std::source_location::current()) {
  return host_model::atomic(p, at, [=](uint32_t before) { return before == expected ? x : before; });
}

// --- arithmetic

template <class T>
float to_float(T x) {
  return static_cast<float>(x);
}
template <>
inline float to_float(Half x) {
  return host_model::widen_half(x.bits);
}
template <>
inline float to_float(BFloat16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}
template <class T, host_model::Space S>
float to_float(host_model::Element<T, S>&& x) {
  return to_float<T>(static_cast<T>(std::move(x)));
}

template <class T>
T from_float(float x) {
  return static_cast<T>(x);
}
template <>
inline Half from_float(float x) {
  return {host_model::narrow_half(x)};
}
template <>
inline BFloat16 from_float(float x) {
  return {host_model::narrow_bfloat16(x)};
}

inline float max_nan(float a, float b) {
  if (std::isnan(a) || std::isnan(b)) return std::bit_cast<float>(0x7fffffffu);
  return a == b ? (std::signbit(a) ? b : a) : (a > b ? a : b);
}
namespace host_model {
template <class T, class Function>
uint32_t each_half(uint32_t a, uint32_t b, Function function) {
  uint32_t y = 0;
  for (int shift = 0; shift < 32; shift += 16) {
    const float half =
        function(to_float(T{static_cast<uint16_t>(a >> shift)}), to_float(T{static_cast<uint16_t>(b >> shift)}));
    y |= static_cast<uint32_t>(from_float<T>(half).bits) << shift;
  }
  return y;
}
}  // namespace host_model
template <class T>
uint32_t max_nan_pair(uint32_t a, uint32_t b) {
  return host_model::each_half<T>(a, b, [](float a, float b) { return max_nan(a, b); });
}
template <class T>
uint32_t max_pair(uint32_t a, uint32_t b) {
  return host_model::each_half<T>(a, b, [](float a, float b) { return std::fmax(a, b); });
}
template <class T>
uint32_t min_pair(uint32_t a, uint32_t b) {
  return host_model::each_half<T>(a, b, [](float a, float b) { return std::fmin(a, b); });
}
inline float exp2_fast(float x) {
  const float y = std::exp2(x);
  return std::isnormal(y) || !std::isfinite(y) ? y : 0.0f;
}
inline float reciprocal_fast(float x) { return 1.0f / x; }
inline uint32_t float_bits(float x) { return std::bit_cast<uint32_t>(x); }
inline float bits_float(uint32_t x) { return std::bit_cast<float>(x); }

// --- the host side

// Odd, so that nothing is divided evenly.
inline int multiprocessors(const Stream&) { return 3; }

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), int64_t blocks, int threads, const Stream&,
            const Arguments&... arguments) {
  static_assert((sizeof(Parameters) + ... + 0) <= 4096 && (std::is_trivially_copyable_v<Parameters> && ...));
  static_assert((!std::is_pointer_v<Parameters> && ...), "kernels take Global<T>");
  if (blocks == 0) return;
  if (blocks < 0 || blocks > INT32_MAX) throw std::runtime_error(std::string(name) + ": too large for one launch");
  struct Call {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> arguments;
  };
  const Call call{kernel, std::tuple<Parameters...>(arguments...)};
  host_model::run(
      name, blocks, threads,
      [](const void* data) {
        const Call& call = *static_cast<const Call*>(data);
        std::apply(call.kernel, call.arguments);
      },
      &call);
}

}  // namespace magnet
