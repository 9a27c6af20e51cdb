// Integers, bits and predicates.
#include <algorithm>
#include <type_traits>

#include "shapes.h"

namespace emulator {
namespace {

template <class T>
T shift_left(T x, u32 n) {
  return n >= 8 * sizeof(T) ? T(0) : T(x << n);
}
template <class T>
T shift_right(T x, u32 n) {
  if (n >= 8 * sizeof(T)) return x < 0 ? T(-1) : T(0);
  return T(x >> n);
}
template <class T>
T quotient(T a, T b) {
  if (b == 0) return T(-1);
  if (std::is_signed_v<T> && b == T(-1)) return T(-static_cast<std::make_unsigned_t<T>>(a));
  return a / b;
}
template <class T>
T remainder(T a, T b) {
  if (b == 0) return a;
  if (std::is_signed_v<T> && b == T(-1)) return 0;
  return a % b;
}
template <class T>
T field(T x, u32 position, u32 length) {  // bfe
  constexpr u32 size = 8 * sizeof(T);
  position &= 255;
  length &= 255;
  using U = std::make_unsigned_t<T>;
  const u32 sign_at = std::min(position + length - 1, size - 1);
  const bool sign = std::is_signed_v<T> && length != 0 && (U(x) >> sign_at & 1);
  U y = 0;
  for (u32 i = 0; i < size; ++i) {
    const bool bit = i < length && position + i < size ? U(x) >> (position + i) & 1 : sign;
    y |= U(bit) << i;
  }
  return T(y);
}
template <class T>
T insert(T a, T b, u32 position, u32 length) {  // bfi
  position &= 255;
  length &= 255;
  for (u32 i = 0; i < length && position + i < 8 * sizeof(T); ++i) {
    b = (b & ~(T(1) << (position + i))) | (a >> i & 1) << (position + i);
  }
  return b;
}
u32 permute(u32 a, u32 b, u32 selector) {  // prmt
  const u64 both = u64(b) << 32 | a;
  u32 y = 0;
  for (int i = 0; i < 4; ++i) {
    const u32 s = selector >> (4 * i) & 15;
    u32 byte = u32(both >> (8 * (s & 7))) & 255;
    if (s & 8) byte = byte & 128 ? 255 : 0;
    y |= byte << (8 * i);
  }
  return y;
}
template <class T>
T reverse(T x) {
  T y = 0;
  for (u32 i = 0; i < 8 * sizeof(T); ++i) y |= (x >> i & 1) << (8 * sizeof(T) - 1 - i);
  return y;
}
u32 leading_zeros(u64 x) { return x ? __builtin_clzll(x) : 64; }

template <class T, auto f>
u32 pairs(u32 a, u32 b) {  // both halves of a word
  return u32(u16(f(T(a >> 16), T(b >> 16)))) << 16 | u16(f(T(a), T(b)));
}

#define EACH_INT(X) X(s16) X(u16) X(s32) X(u32) X(s64) X(u64)
#define EACH_BITS(X) X(b16) X(b32) X(b64)

}  // namespace

void add_integers(Table& t) {
#define X(T)                                                                                                     \
  t["add." #T] = {Kind::plain, two<T, T, T, [](T a, T b) { return T(u64(a) + u64(b)); }>};                       \
  t["sub." #T] = {Kind::plain, two<T, T, T, [](T a, T b) { return T(u64(a) - u64(b)); }>};                       \
  t["mul.lo." #T] = {Kind::plain, two<T, T, T, [](T a, T b) { return T(u64(a) * u64(b)); }>};                    \
  t["mul.hi." #T] = {Kind::plain, two<T, T, T, [](T a, T b) {                                                    \
                       return T((static_cast<__int128>(a) * static_cast<__int128>(b)) >> (8 * sizeof(T)));       \
                     }>};                                                                                        \
  t["mad.lo." #T] = {Kind::plain, three<T, T, T, T, [](T a, T b, T c) { return T(u64(a) * u64(b) + u64(c)); }>}; \
  t["div." #T] = {Kind::plain, two<T, T, T, quotient<T>>};                                                       \
  t["rem." #T] = {Kind::plain, two<T, T, T, remainder<T>>};                                                      \
  t["min." #T] = {Kind::plain, two<T, T, T, [](T a, T b) { return a < b ? a : b; }>};                            \
  t["max." #T] = {Kind::plain, two<T, T, T, [](T a, T b) { return (a > b) ? a : b; }>};                          \
  t["abs." #T] = {Kind::plain, one<T, T, [](T a) { return a < 0 ? T(-u64(a)) : a; }>};                           \
  t["neg." #T] = {Kind::plain, one<T, T, [](T a) { return T(-u64(a)); }>};                                       \
  t["shr." #T] = {Kind::plain, two<T, T, u32, shift_right<T>>};                                                  \
  t["setp.eq." #T] = {Kind::plain, compare<T, [](T a, T b) { return a == b; }>};                                 \
  t["setp.ne." #T] = {Kind::plain, compare<T, [](T a, T b) { return a != b; }>};                                 \
  t["setp.lt." #T] = {Kind::plain, compare<T, [](T a, T b) { return a < b; }>};                                  \
  t["setp.le." #T] = {Kind::plain, compare<T, [](T a, T b) { return a <= b; }>};                                 \
  t["setp.gt." #T] = {Kind::plain, compare<T, [](T a, T b) { return (a > b); }>};                                \
  t["setp.ge." #T] = {Kind::plain, compare<T, [](T a, T b) { return (a >= b); }>};                               \
  t["selp." #T] = {Kind::plain, select<T>};                                                                      \
  t["mov." #T] = {Kind::plain, one<T, T, [](T a) { return a; }>};
  EACH_INT(X);
#undef X
#define X(T)                                                                     \
  t["and." #T] = {Kind::plain, two<T, T, T, [](T a, T b) { return T(a & b); }>}; \
  t["or." #T] = {Kind::plain, two<T, T, T, [](T a, T b) { return T(a | b); }>};  \
  t["xor." #T] = {Kind::plain, two<T, T, T, [](T a, T b) { return T(a ^ b); }>}; \
  t["not." #T] = {Kind::plain, one<T, T, [](T a) { return T(~a); }>};            \
  t["shl." #T] = {Kind::plain, two<T, T, u32, shift_left<T>>};                   \
  t["setp.eq." #T] = {Kind::plain, compare<T, [](T a, T b) { return a == b; }>}; \
  t["setp.ne." #T] = {Kind::plain, compare<T, [](T a, T b) { return a != b; }>}; \
  t["selp." #T] = {Kind::plain, select<T>};                                      \
  t["mov." #T] = {Kind::plain, one<T, T, [](T a) { return a; }>};
  EACH_BITS(X);
#undef X
#define WIDE(R, T)                                                                          \
  t["mul.wide." #T] = {Kind::plain, two<R, T, T, [](T a, T b) { return R(R(a) * R(b)); }>}; \
  t["mad.wide." #T] = {Kind::plain, three<R, T, T, R, [](T a, T b, R c) { return R(u64(R(a) * R(b)) + u64(c)); }>};
  WIDE(s32, s16);
  WIDE(s64, s32);
  WIDE(u64, u32);
  t["mul.wide.u16"] = {Kind::plain, two<u32, u16, u16, [](u16 a, u16 b) { return u32(a) * u32(b); }>};
  t["mad.wide.u16"] = {Kind::plain, three<u32, u16, u16, u32, [](u16 a, u16 b, u32 c) { return u32(a) * u32(b) + c; }>};
#define BFE(T) t["bfe." #T] = {Kind::plain, three<T, T, u32, u32, field<T>>};
  BFE(s32);
  BFE(u32);
  BFE(s64);
  BFE(u64);
  t["max.relu.s32"] = {Kind::plain, two<s32, s32, s32, [](s32 a, s32 b) { return std::max(std::max(a, b), 0); }>};
  t["min.relu.s32"] = {Kind::plain, two<s32, s32, s32, [](s32 a, s32 b) { return std::max(std::min(a, b), 0); }>};
#define HALF_WORDS(T)                                                                                      \
  t["add." #T "x2"] = {Kind::plain, two<u32, u32, u32, pairs<T, [](T a, T b) { return T(a + b); }>>};      \
  t["sub." #T "x2"] = {Kind::plain, two<u32, u32, u32, pairs<T, [](T a, T b) { return T(a - b); }>>};      \
  t["min." #T "x2"] = {Kind::plain, two<u32, u32, u32, pairs<T, [](T a, T b) { return a < b ? a : b; }>>}; \
  t["max." #T "x2"] = {Kind::plain, two<u32, u32, u32, pairs<T, [](T a, T b) { return (a > b) ? a : b; }>>};
  HALF_WORDS(s16);
  HALF_WORDS(u16);
#define BFI(B, T)                                                                                 \
  t["bfi." #B] = {Kind::plain, [](Warp& w, const Instr& i, u32 lanes) {                           \
                    each(lanes, [&](int l) {                                                      \
                      set<T>(w, i.operand[0], l,                                                  \
                             insert(get<T>(w, i.operand[1], l), get<T>(w, i.operand[2], l),       \
                                    get<u32>(w, i.operand[3], l), get<u32>(w, i.operand[4], l))); \
                    });                                                                           \
                  }};
  BFI(b32, u32);
  BFI(b64, u64);
  t["prmt.b32"] = {Kind::plain, three<u32, u32, u32, u32, permute>};
  t["brev.b32"] = {Kind::plain, one<u32, u32, reverse<u32>>};
  t["brev.b64"] = {Kind::plain, one<u64, u64, reverse<u64>>};
  t["popc.b32"] = {Kind::plain, one<u32, u32, [](u32 x) { return u32(__builtin_popcount(x)); }>};
  t["popc.b64"] = {Kind::plain, one<u32, u64, [](u64 x) { return u32(__builtin_popcountll(x)); }>};
  t["clz.b32"] = {Kind::plain, one<u32, u32, [](u32 x) { return leading_zeros(x) - 32; }>};
  t["clz.b64"] = {Kind::plain, one<u32, u64, leading_zeros>};
  // Where the highest 1 is, ~0 where there is none.
  t["bfind.u32"] = {Kind::plain, one<u32, u32, [](u32 x) { return x ? 63 - leading_zeros(x) : ~0u; }>};
  t["bfind.u64"] = {Kind::plain, one<u32, u64, [](u64 x) { return x ? 63 - leading_zeros(x) : ~0u; }>};
  t["bfind.shiftamt.u32"] = {Kind::plain, one<u32, u32, [](u32 x) { return x ? leading_zeros(x) - 32 : ~0u; }>};
  t["bfind.shiftamt.u64"] = {Kind::plain, one<u32, u64, [](u64 x) { return x ? leading_zeros(x) : ~0u; }>};
#define FUNNEL(HOW, AMOUNT)                                                                                        \
  t["shf.l." HOW ".b32"] = {                                                                                       \
      Kind::plain,                                                                                                 \
      three<u32, u32, u32, u32, [](u32 a, u32 b, u32 c) { return u32(((u64(b) << 32 | a) << (AMOUNT)) >> 32); }>}; \
  t["shf.r." HOW ".b32"] = {                                                                                       \
      Kind::plain,                                                                                                 \
      three<u32, u32, u32, u32, [](u32 a, u32 b, u32 c) { return u32((u64(b) << 32 | a) >> (AMOUNT)); }>};
  FUNNEL("wrap", c & 31);
  FUNNEL("clamp", c < 32 ? c : 32);
  t["mov.pack2.b32"] = {Kind::plain, two<u32, u16, u16, [](u16 a, u16 b) { return (u32(b) << 16 | a); }>};
  t["mov.pack2.b64"] = {Kind::plain, two<u64, u32, u32, [](u32 a, u32 b) { return u64(b) << 32 | a; }>};
  t["mov.unpack2.b32"] = {Kind::plain, [](Warp& w, const Instr& i, u32 lanes) {
                            each(lanes, [&](int l) {
                              const u32 x = get<u32>(w, i.operand[2], l);
                              set<u16>(w, i.operand[0], l, u16(x));
                              set<u16>(w, i.operand[1], l, u16(x >> 16));
                            });
                          }};
  t["mov.unpack2.b64"] = {Kind::plain, [](Warp& w, const Instr& i, u32 lanes) {
                            each(lanes, [&](int l) {
                              const u64 x = get<u64>(w, i.operand[2], l);
                              set<u32>(w, i.operand[0], l, u32(x));
                              set<u32>(w, i.operand[1], l, u32(x >> 32));
                            });
                          }};
}

void add_predicates(Table& t) {
  t["and.pred"] = {Kind::plain, logic<[](u32 a, u32 b) { return a & b; }>};
  t["or.pred"] = {Kind::plain, logic<[](u32 a, u32 b) { return a | b; }>};
  t["xor.pred"] = {Kind::plain, logic<[](u32 a, u32 b) { return a ^ b; }>};
  t["not.pred"] = {Kind::plain,
                   [](Warp& w, const Instr& i, u32 m) { put(w, i.operand[0], m, ~w.predicates[i.operand[1]]); }};
  t["mov.pred"] = {Kind::plain,
                   [](Warp& w, const Instr& i, u32 m) { put(w, i.operand[0], m, w.predicates[i.operand[1]]); }};
}

}  // namespace emulator
