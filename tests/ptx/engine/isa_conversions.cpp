// Conversions.
#include <cmath>
#include <limits>

#include "numbers.h"
#include "shapes.h"

namespace emulator {
namespace {

template <class To, class From>
To truncate(From x) {  // cvt.rzi: saturates; NaN by the rule of the manual
  if (std::isnan(x)) return sizeof(From) == 8 || sizeof(To) == 8 ? To(u64{1} << (8 * sizeof(To) - 1)) : To(0);
  const From whole = std::trunc(x);
  if (whole >= std::ldexp(From(1), std::numeric_limits<To>::digits)) return std::numeric_limits<To>::max();
  if (whole <= From(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
  return To(whole);
}

}  // namespace

void add_conversions(Table& t) {
#define CONVERT(R, T) t["cvt." #R "." #T] = {Kind::plain, one<R, T, [](T a) { return R(a); }>}
#define FROM(T)                                                                                                        \
  CONVERT(u8, T), CONVERT(s8, T), CONVERT(u16, T), CONVERT(s16, T), CONVERT(u32, T), CONVERT(s32, T), CONVERT(u64, T), \
      CONVERT(s64, T)
  FROM(u8);
  FROM(s8);
  FROM(u16);
  FROM(s16);
  FROM(u32);
  FROM(s32);
  FROM(u64);
  FROM(s64);
#define FLOAT_OF(T)                                                             \
  t["cvt.rn.f32." #T] = {Kind::plain, one<f32, T, [](T a) { return f32(a); }>}; \
  t["cvt.rn.f64." #T] = {Kind::plain, one<f64, T, [](T a) { return f64(a); }>};
  FLOAT_OF(s32);
  FLOAT_OF(u32);
  FLOAT_OF(s64);
  FLOAT_OF(u64);
#define INT_OF(R)                                                         \
  t["cvt.rzi." #R ".f32"] = {Kind::plain, one<R, f32, truncate<R, f32>>}; \
  t["cvt.rzi." #R ".f64"] = {Kind::plain, one<R, f64, truncate<R, f64>>};
  INT_OF(s32);
  INT_OF(u32);
  INT_OF(s64);
  INT_OF(u64);
  t["cvt.rn.f32.f64"] = {Kind::plain, one<f32, f64, [](f64 a) { return canonical(f32(a)); }>};
  t["cvt.f64.f32"] = {Kind::plain, one<f64, f32, [](f32 a) { return f64(a); }>};
  t["cvt.f32.f16"] = {Kind::plain, one<f32, u16, from_half>};
  t["cvt.f32.bf16"] = {Kind::plain, one<f32, u16, from_bfloat>};
  t["cvt.rn.f16.f32"] = {Kind::plain, one<u16, f32, to_half>};
  t["cvt.rn.bf16.f32"] = {Kind::plain, one<u16, f32, to_bfloat>};
  t["cvt.rn.f16x2.f32"] = {Kind::plain,
                           two<u32, f32, f32, [](f32 a, f32 b) { return u32(to_half(a)) << 16 | to_half(b); }>};
  t["cvt.rn.bf16x2.f32"] = {Kind::plain,
                            two<u32, f32, f32, [](f32 a, f32 b) { return u32(to_bfloat(a)) << 16 | to_bfloat(b); }>};
  t["cvta.global.u64"] = t["cvta.to.global.u64"] = {Kind::plain, one<u64, u64, [](u64 a) { return a; }>};
}

}  // namespace emulator
