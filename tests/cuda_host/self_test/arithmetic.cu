// What the functions of numbers give. They need no kernel, and those of arrays cannot fail.
#include "cuda/device.cuh"
#include "report.h"

namespace magnet::cuda {

MAGNET_EXPORT const char* widen_half(const uint16_t* in, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = to_float(Half{in[i]});
  return nullptr;
}
MAGNET_EXPORT const char* widen_bfloat16(const uint16_t* in, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = to_float(BFloat16{in[i]});
  return nullptr;
}
MAGNET_EXPORT const char* narrow_half(const float* in, uint16_t* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = from_float<Half>(in[i]).bits;
  return nullptr;
}
MAGNET_EXPORT const char* narrow_bfloat16(const float* in, uint16_t* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = from_float<BFloat16>(in[i]).bits;
  return nullptr;
}

MAGNET_EXPORT float max_nan_of(float a, float b) { return max_nan(a, b); }
MAGNET_EXPORT float exp2_fast_of(float x) { return exp2_fast(x); }
MAGNET_EXPORT float reciprocal_fast_of(float x) { return reciprocal_fast(x); }
MAGNET_EXPORT float min_float(float a, float b) { return min(a, b); }
MAGNET_EXPORT float max_float(float a, float b) { return max(a, b); }
MAGNET_EXPORT int64_t min_mixed(int a, unsigned b) { return min(a, b); }
MAGNET_EXPORT int64_t max_signed(int a, int b) { return max(a, b); }

MAGNET_EXPORT void integers(uint64_t x, uint32_t shift, uint64_t* out) {
  const uint32_t low = static_cast<uint32_t>(x), high = static_cast<uint32_t>(x >> 32);
  int i = 0;
  out[i++] = __popc(low);
  out[i++] = __popcll(x);
  out[i++] = __clz(static_cast<int>(low));
  out[i++] = __clzll(static_cast<long long>(x));
  out[i++] = __ffs(static_cast<int>(low));
  out[i++] = __ffsll(static_cast<long long>(x));
  out[i++] = __brev(low);
  out[i++] = __brevll(x);
  out[i++] = __funnelshift_l(low, high, shift);
  out[i++] = __funnelshift_r(low, high, shift);
  out[i++] = __funnelshift_lc(low, high, shift);
  out[i++] = __funnelshift_rc(low, high, shift);
  out[i++] = __umulhi(low, high);
  out[i++] = float_bits(bits_float(low));
}

}  // namespace magnet::cuda
