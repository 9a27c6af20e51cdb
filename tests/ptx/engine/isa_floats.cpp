// Floating-point arithmetic and comparisons.
#include <cmath>
#include <limits>

#include "numbers.h"
#include "shapes.h"

namespace emulator {
namespace {

template <class T>
T lower(T a, T b) {  // min: of a number and NaN the number
  if (std::isnan(a)) return canonical(b);
  if (std::isnan(b)) return a;
  if (a == b) return std::signbit(a) ? a : b;
  return a < b ? a : b;
}
template <class T>
T higher(T a, T b) {
  if (std::isnan(a)) return canonical(b);
  if (std::isnan(b)) return a;
  if (a == b) return std::signbit(a) ? b : a;
  return (a > b) ? a : b;
}
template <class T>
T higher_nan(T a, T b) {
  return std::isnan(a) || std::isnan(b) ? canonical(std::numeric_limits<T>::quiet_NaN()) : higher(a, b);
}
template <class T>
T lower_nan(T a, T b) {
  return std::isnan(a) || std::isnan(b) ? canonical(std::numeric_limits<T>::quiet_NaN()) : lower(a, b);
}
// Both halves of a word.
template <float (*widen)(u16), u16 (*narrow)(float), float (*f)(float, float)>
u32 halves(u32 a, u32 b) {
  return u32(narrow(f(widen(u16(a >> 16)), widen(u16(b >> 16))))) << 16 | narrow(f(widen(u16(a)), widen(u16(b))));
}

// A number in [-1, 1] that depends on the operands alone, as an approximation's error does.
double error_of(float a, float b = 0) {
  u64 h = (u64(bits<u32>(a)) << 32 | bits<u32>(b)) * 0x9e3779b97f4a7c15ull;
  h ^= h >> 31;
  h *= 0xbf58476d1ce4e5b9ull;
  return double(s64(h)) / 9.3e18;
}
bool power_of_two(float x) { return (bits<u32>(x) & 0x7fffff) == 0; }
float exp2_approx(float x) {  // relative error up to 2^-22, with the rounding; exact of whole numbers
  if (std::isnan(x)) return canonical(x);
  const double exact = std::exp2(double(x));
  if (!approximate || x == std::floor(x)) return float(exact);
  return float(exact * (1 + error_of(x) * (0x1p-22 - 0x1p-24)));
}
float quotient_approx(float a, float b, double ulps) {
  const float exact = canonical(a / b);
  if (!approximate || power_of_two(b) || !std::isfinite(exact) || exact == 0) return exact;
  return float(double(a) / double(b) * (1 + error_of(a, b) * ulps * 0x1p-24));
}
float flush(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }

// Of both halves of a word, into two predicates.
template <auto f, float (*widen)(u16)>
void compare_halves(Warp& w, const Instr& i, u32 lanes) {
  u32 low = 0, high = 0;
  each(lanes, [&](int l) {
    const u32 a = get<u32>(w, i.operand[2], l), b = get<u32>(w, i.operand[3], l);
    low |= u32(f(widen(u16(a)), widen(u16(b)))) << l;
    high |= u32(f(widen(u16(a >> 16)), widen(u16(b >> 16)))) << l;
  });
  put(w, i.operand[0], lanes, low);
  put(w, i.operand[1], lanes, high);
}

}  // namespace

void add_floats(Table& t) {
#define X(T)                                                                                                         \
  t["add.rn." #T] = {Kind::plain, two<T, T, T, [](T a, T b) { return canonical(T(a + b)); }>};                       \
  t["sub.rn." #T] = {Kind::plain, two<T, T, T, [](T a, T b) { return canonical(T(a - b)); }>};                       \
  t["mul.rn." #T] = {Kind::plain, two<T, T, T, [](T a, T b) { return canonical(T(a * b)); }>};                       \
  t["div.rn." #T] = {Kind::plain, two<T, T, T, [](T a, T b) { return canonical(T(a / b)); }>};                       \
  t["rcp.rn." #T] = {Kind::plain, one<T, T, [](T a) { return canonical(T(T(1) / a)); }>};                            \
  t["sqrt.rn." #T] = {Kind::plain, one<T, T, [](T a) { return canonical(T(std::sqrt(a))); }>};                       \
  t["fma.rn." #T] = {Kind::plain, three<T, T, T, T, [](T a, T b, T c) { return canonical(T(std::fma(a, b, c))); }>}; \
  t["min." #T] = {Kind::plain, two<T, T, T, lower<T>>};                                                              \
  t["max." #T] = {Kind::plain, two<T, T, T, higher<T>>};                                                             \
  t["min.NaN." #T] = {Kind::plain, two<T, T, T, lower_nan<T>>};                                                      \
  t["max.NaN." #T] = {Kind::plain, two<T, T, T, higher_nan<T>>};                                                     \
  t["abs." #T] = {Kind::plain, one<T, T, [](T a) { return T(std::fabs(a)); }>};                                      \
  t["neg." #T] = {Kind::plain, one<T, T, [](T a) { return T(-a); }>};                                                \
  t["selp." #T] = {Kind::plain, select<T>};                                                                          \
  t["mov." #T] = {Kind::plain, one<T, T, [](T a) { return a; }>};
  X(f32);
  X(f64);
#undef X
#define COMPARISONS(NAME, T, WIDEN)                                                                           \
  t["setp.eq." NAME] = {Kind::plain, compare<T, [](T a, T b) { return WIDEN(a) == WIDEN(b); }>};              \
  t["setp.ne." NAME] = {Kind::plain,                                                                          \
                        compare<T, [](T a, T b) { return (WIDEN(a) < WIDEN(b) || WIDEN(a) > WIDEN(b)); }>};   \
  t["setp.lt." NAME] = {Kind::plain, compare<T, [](T a, T b) { return WIDEN(a) < WIDEN(b); }>};               \
  t["setp.le." NAME] = {Kind::plain, compare<T, [](T a, T b) { return WIDEN(a) <= WIDEN(b); }>};              \
  t["setp.gt." NAME] = {Kind::plain, compare<T, [](T a, T b) { return (WIDEN(a) > WIDEN(b)); }>};             \
  t["setp.ge." NAME] = {Kind::plain, compare<T, [](T a, T b) { return (WIDEN(a) >= WIDEN(b)); }>};            \
  t["setp.neu." NAME] = {Kind::plain, compare<T, [](T a, T b) { return WIDEN(a) != WIDEN(b); }>};             \
  t["setp.equ." NAME] = {Kind::plain,                                                                         \
                         compare<T, [](T a, T b) { return !(WIDEN(a) < WIDEN(b) || WIDEN(a) > WIDEN(b)); }>}; \
  t["setp.ltu." NAME] = {Kind::plain, compare<T, [](T a, T b) { return !(WIDEN(a) >= WIDEN(b)); }>};          \
  t["setp.leu." NAME] = {Kind::plain, compare<T, [](T a, T b) { return !(WIDEN(a) > WIDEN(b)); }>};           \
  t["setp.gtu." NAME] = {Kind::plain, compare<T, [](T a, T b) { return !(WIDEN(a) <= WIDEN(b)); }>};          \
  t["setp.geu." NAME] = {Kind::plain, compare<T, [](T a, T b) { return !(WIDEN(a) < WIDEN(b)); }>};           \
  t["setp.nan." NAME] = {Kind::plain,                                                                         \
                         compare<T, [](T a, T b) { return std::isnan(WIDEN(a)) || std::isnan(WIDEN(b)); }>};  \
  t["setp.num." NAME] = {Kind::plain,                                                                         \
                         compare<T, [](T a, T b) { return !(std::isnan(WIDEN(a)) || std::isnan(WIDEN(b))); }>};
  COMPARISONS("f32", f32, f32);
  COMPARISONS("f64", f64, f64);
  COMPARISONS("f16", u16, from_half);
  COMPARISONS("bf16", u16, from_bfloat);
#define TWO_FLOATS(NAME, F)                                                                           \
  t[NAME] = {Kind::plain, two<u64, u64, u64, [](u64 a, u64 b) {                                       \
               return u64(bits<u32>(F(bits<float>(u32(a >> 32)), bits<float>(u32(b >> 32))))) << 32 | \
                      bits<u32>(F(bits<float>(u32(a)), bits<float>(u32(b))));                         \
             }>};
#define ADD(A, B) canonical((A) + (B))
#define SUBTRACT(A, B) canonical((A) - (B))
#define MULTIPLY(A, B) canonical((A) * (B))
  TWO_FLOATS("add.rn.f32x2", ADD);
  TWO_FLOATS("sub.rn.f32x2", SUBTRACT);
  TWO_FLOATS("mul.rn.f32x2", MULTIPLY);
  t["fma.rn.f32x2"] = {Kind::plain, three<u64, u64, u64, u64, [](u64 a, u64 b, u64 c) {
                         const auto one = [](u32 x, u32 y, u32 z) {
                           return bits<u32>(canonical(std::fma(bits<float>(x), bits<float>(y), bits<float>(z))));
                         };
                         return u64(one(u32(a >> 32), u32(b >> 32), u32(c >> 32))) << 32 | one(u32(a), u32(b), u32(c));
                       }>};
#define HALF_COMPARISON(CMP, EXPRESSION)                                                                          \
  t["setp." CMP ".f16x2|p"] = {Kind::plain,                                                                       \
                               compare_halves<[](float a, float b) -> bool { return (EXPRESSION); }, from_half>}; \
  t["setp." CMP ".bf16x2|p"] = {Kind::plain,                                                                      \
                                compare_halves<[](float a, float b) -> bool { return (EXPRESSION); }, from_bfloat>};
  HALF_COMPARISON("nan", std::isnan(a) || std::isnan(b));
  HALF_COMPARISON("num", !(std::isnan(a) || std::isnan(b)));
  HALF_COMPARISON("eq", a == b);
  HALF_COMPARISON("neu", a != b);
  HALF_COMPARISON("lt", a < b);
  HALF_COMPARISON("gt", a > b);
  HALF_COMPARISON("le", a <= b);
  HALF_COMPARISON("ge", a >= b);
#define PAIRS(NAME, WIDEN, NARROW)                                                                  \
  t["max." NAME] = {Kind::plain, two<u32, u32, u32, halves<WIDEN, NARROW, higher<float>>>};         \
  t["min." NAME] = {Kind::plain, two<u32, u32, u32, halves<WIDEN, NARROW, lower<float>>>};          \
  t["max.NaN." NAME] = {Kind::plain, two<u32, u32, u32, halves<WIDEN, NARROW, higher_nan<float>>>}; \
  t["min.NaN." NAME] = {Kind::plain, two<u32, u32, u32, halves<WIDEN, NARROW, lower_nan<float>>>};
  PAIRS("f16x2", from_half, to_half);
  PAIRS("bf16x2", from_bfloat, to_bfloat);
#define OF_THREE(NAME, F) \
  t[NAME ".f32|3"] = {Kind::plain, three<f32, f32, f32, f32, [](f32 a, f32 b, f32 c) { return F(F(a, b), c); }>};
  OF_THREE("min", lower);
  OF_THREE("max", higher);
  OF_THREE("min.NaN", lower_nan);
  OF_THREE("max.NaN", higher_nan);
  t["ex2.approx.f32"] = {Kind::plain, one<f32, f32, exp2_approx>};
  t["ex2.approx.ftz.f32"] = {Kind::plain, one<f32, f32, [](f32 a) { return flush(exp2_approx(flush(a))); }>};
  t["rcp.approx.f32"] = {Kind::plain, one<f32, f32, [](f32 a) { return quotient_approx(1.0f, a, 1); }>};
  t["div.full.f32"] = {Kind::plain, two<f32, f32, f32, [](f32 a, f32 b) { return quotient_approx(a, b, 2); }>};
}

}  // namespace emulator
