// Loads, stores, atomics and fences.
#include <type_traits>

#include "types.h"

namespace emulator {
namespace {

struct Globals {
  static constexpr bool kDevice = true;
  static u8* at(Warp& w, const Instr& i, int l, u64 a, int n, Access how, const void* value = nullptr) {
    return global_at(w, i, l, a, n, how, value);
  }
  static u64 address(const Warp& w, int slot, int l) { return get<u64>(w, slot, l); }
};
struct Shareds {
  static constexpr bool kDevice = false;
  static u8* at(Warp& w, const Instr& i, int l, u64 a, int n, Access how, const void* value = nullptr) {
    return shared_at(w, i, l, a, n, how, value);
  }
  static u64 address(const Warp& w, int slot, int l) { return get<u32>(w, slot, l); }
};

// What was loaded into registers, which may be wider: integers are extended.
template <class T, int kN>
void set_loaded(Warp& w, const Instr& i, int l, const u8* from) {
  T values[kN];
  std::memcpy(values, from, sizeof(values));
  for (int k = 0; k < kN; ++k) {
    if constexpr (std::is_integral_v<T>) {
      using Wide = std::conditional_t<std::is_signed_v<T>, s64, u64>;
      set<Wide>(w, i.operand[k], l, Wide(values[k]));
    } else {
      set<T>(w, i.operand[k], l, values[k]);
    }
  }
}
template <class Space, class T, int kN, Access kHow = Access::read>
void load(Warp& w, const Instr& i, u32 lanes) {  // registers, then the address
  each(lanes, [&](int l) {
    const u64 a = Space::address(w, i.operand[kN], l) + i.offset;
    set_loaded<T, kN>(w, i, l, Space::at(w, i, l, a, sizeof(T) * kN, kHow));
  });
}
template <class T, int kN>
void load_param(Warp& w, const Instr& i, u32 lanes) {
  each(lanes, [&](int l) {
    set_loaded<T, kN>(w, i, l, param_at(w, i, l, get<u64>(w, i.operand[kN], l) + i.offset, sizeof(T) * kN));
  });
}
template <class Space, class T, int kN, Access kHow = Access::write>
void store(Warp& w, const Instr& i, u32 lanes) {  // the address, then registers
  each(lanes, [&](int l) {
    const u64 a = Space::address(w, i.operand[0], l) + i.offset;
    T values[kN];
    for (int k = 0; k < kN; ++k) values[k] = get<T>(w, i.operand[1 + k], l);
    u8* p = Space::at(w, i, l, a, sizeof(T) * kN, kHow, values);
    std::memcpy(p, values, sizeof(values));
  });
  if constexpr (kHow == Access::strong_write) after_strong_write(w);
}
template <class Space, class T, auto f, bool kReturns>
void atomic(Warp& w, const Instr& i, u32 lanes) {
  each(lanes, [&](int l) {
    constexpr int first = kReturns ? 1 : 0;
    const u64 a = Space::address(w, i.operand[first], l) + i.offset;
    u8* p = Space::at(w, i, l, a, sizeof(T), Access::atomic);
    T old;
    std::memcpy(&old, p, sizeof(T));
    const T next = f(old, get<T>(w, i.operand[first + 1], l));
    std::memcpy(p, &next, sizeof(T));
    if constexpr (kReturns) set<T>(w, i.operand[0], l, old);
  });
  if constexpr (Space::kDevice) after_strong_write(w);
}
template <class Space, class T>
void compare_and_swap(Warp& w, const Instr& i, u32 lanes) {
  each(lanes, [&](int l) {
    u8* p = Space::at(w, i, l, Space::address(w, i.operand[1], l) + i.offset, sizeof(T), Access::atomic);
    T old;
    std::memcpy(&old, p, sizeof(T));
    const T next = get<T>(w, i.operand[3], l);
    if (old == get<T>(w, i.operand[2], l)) std::memcpy(p, &next, sizeof(T));
    set<T>(w, i.operand[0], l, old);
  });
  if constexpr (Space::kDevice) after_strong_write(w);
}

void nothing(Warp&, const Instr&, u32) {}

}  // namespace

void add_memory(Table& t) {
#define ACCESS(T)                                                                                           \
  for (const char* how : {"", ".cs", ".cg", ".ca", ".nc"}) {                                                \
    const std::string g = std::string(".global") + how;                                                     \
    t["ld" + g + "." #T] = {Kind::plain, load<Globals, T, 1>};                                              \
    t["ld" + g + ".v2." #T] = {Kind::plain, load<Globals, T, 2>};                                           \
    t["ld" + g + ".v4." #T] = {Kind::plain, load<Globals, T, 4>};                                           \
    t["st" + g + "." #T] = {Kind::plain, store<Globals, T, 1>};                                             \
    t["st" + g + ".v2." #T] = {Kind::plain, store<Globals, T, 2>};                                          \
    t["st" + g + ".v4." #T] = {Kind::plain, store<Globals, T, 4>};                                          \
  }                                                                                                         \
  for (const char* how : {".relaxed.gpu", ".volatile", ".acquire.gpu"}) {                                   \
    t[std::string("ld") + how + ".global." #T] = {Kind::pause, load<Globals, T, 1, Access::strong_read>};   \
  }                                                                                                         \
  for (const char* how : {".relaxed.gpu", ".volatile", ".release.gpu"}) {                                   \
    t[std::string("st") + how + ".global." #T] = {Kind::plain, store<Globals, T, 1, Access::strong_write>}; \
  }                                                                                                         \
  t["ld.shared." #T] = {Kind::plain, load<Shareds, T, 1>};                                                  \
  t["ld.shared.v2." #T] = {Kind::plain, load<Shareds, T, 2>};                                               \
  t["ld.shared.v4." #T] = {Kind::plain, load<Shareds, T, 4>};                                               \
  t["st.shared." #T] = {Kind::plain, store<Shareds, T, 1>};                                                 \
  t["st.shared.v2." #T] = {Kind::plain, store<Shareds, T, 2>};                                              \
  t["st.shared.v4." #T] = {Kind::plain, store<Shareds, T, 4>};                                              \
  t["ld.param." #T] = {Kind::plain, load_param<T, 1>};                                                      \
  t["ld.param.v2." #T] = {Kind::plain, load_param<T, 2>};                                                   \
  t["ld.param.v4." #T] = {Kind::plain, load_param<T, 4>};
  ACCESS(u8);
  ACCESS(s8);
  ACCESS(b8);
  ACCESS(u16);
  ACCESS(s16);
  ACCESS(b16);
  ACCESS(u32);
  ACCESS(s32);
  ACCESS(b32);
  ACCESS(u64);
  ACCESS(s64);
  ACCESS(b64);
  ACCESS(f32);
  ACCESS(f64);
#define ATOMIC(NAME, T, F)                                                                         \
  for (const char* how : {"atom.global.", "atom.global.gpu.relaxed.", "atom.relaxed.gpu.global."}) \
    t[std::string(how) + NAME] = {Kind::plain, atomic<Globals, T, F, true>};                       \
  for (const char* how : {"atom.shared.", "atom.relaxed.sys.shared."})                             \
    t[std::string(how) + NAME] = {Kind::plain, atomic<Shareds, T, F, true>};                       \
  for (const char* how : {"red.global.", "red.global.gpu.relaxed.", "red.relaxed.gpu.global."})    \
    t[std::string(how) + NAME] = {Kind::plain, atomic<Globals, T, F, false>};                      \
  t[std::string("red.shared.") + NAME] = {Kind::plain, atomic<Shareds, T, F, false>};
  ATOMIC("add.u32", u32, ([](u32 a, u32 b) { return a + b; }));
  ATOMIC("add.u64", u64, ([](u64 a, u64 b) { return a + b; }));
  ATOMIC("or.b32", u32, ([](u32 a, u32 b) { return a | b; }));
  ATOMIC("exch.b32", u32, ([](u32, u32 b) { return b; }));
  ATOMIC("max.u32", u32, ([](u32 a, u32 b) { return (a > b) ? a : b; }));
  t["atom.shared.cas.b32"] = {Kind::plain, compare_and_swap<Shareds, u32>};
  t["atom.global.cas.b32"] = {Kind::plain, compare_and_swap<Globals, u32>};
  for (const char* name : {"membar.gl", "membar.cta", "fence.acq_rel.gpu", "fence.sc.gpu"})
    t[name] = {Kind::plain, nothing};
  t["nanosleep.u32"] = {Kind::pause, nothing};
  // A launch begins when those before it have ended: a kernel that begins early waits for just that.
  for (const char* name : {"griddepcontrol.wait", "griddepcontrol.launch_dependents"}) t[name] = {Kind::plain, nothing};
}

}  // namespace emulator
