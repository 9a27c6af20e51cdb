// Floats as GPUs have them: the one NaN that instructions make, and the 16-bit types.
#pragma once

#include <cmath>
#include <cstring>

#include "types.h"

namespace emulator {

template <class To, class From>
To bits(From x) {
  To y;
  static_assert(sizeof(To) == sizeof(From));
  std::memcpy(&y, &x, sizeof(To));
  return y;
}
// The NaN that GPUs make.
inline float canonical(float x) { return std::isnan(x) ? bits<float>(0x7fffffffu) : x; }
inline double canonical(double x) { return std::isnan(x) ? bits<double>(0xfff8000000000000ull) : x; }

inline float from_half(u16 h) {
  const u32 sign = u32(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023;
  if (exponent == 31) return fraction ? bits<float>(0x7fffffffu) : bits<float>(sign | 0x7f800000u);
  if (exponent == 0) return bits<float>(sign | bits<u32>(std::ldexp(float(fraction), -24)));
  return bits<float>(sign | (exponent + 112) << 23 | fraction << 13);
}
inline u16 to_half(float x) {  // to nearest even
  const u32 b = bits<u32>(x);
  const u16 sign = b >> 16 & 0x8000;
  if (std::isnan(x)) return 0x7fff;
  const double a = std::fabs(double(x));
  if (a >= 65520.0) return sign | 0x7c00;
  if (a == 0) return sign;
  int exponent;
  std::frexp(a, &exponent);
  const int unit = std::max(exponent - 11, -24);  // of the last place
  const double rounded = std::nearbyint(std::ldexp(a, -unit));
  if (unit == -24) return sign | u16(rounded);  // with the carry into the exponent
  return sign | u16(u32((unit + 25) - 1) * 1024 + u32(rounded));
}
inline float from_bfloat(u16 h) { return bits<float>(u32(h) << 16); }
inline u16 to_bfloat(float x) {
  if (std::isnan(x)) return 0x7fff;
  const u32 b = bits<u32>(x);
  return u16((b + 0x7fff + (b >> 16 & 1)) >> 16);
}

}  // namespace emulator
