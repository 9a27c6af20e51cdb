// Shapes that instructions share: what they read and write, of each lane.
#pragma once

#include "types.h"

namespace emulator {

template <class R, class A, auto f>
void one(Warp& w, const Instr& i, u32 lanes) {
  each(lanes, [&](int l) { set<R>(w, i.operand[0], l, f(get<A>(w, i.operand[1], l))); });
}
template <class R, class A, class B, auto f>
void two(Warp& w, const Instr& i, u32 lanes) {
  each(lanes, [&](int l) { set<R>(w, i.operand[0], l, f(get<A>(w, i.operand[1], l), get<B>(w, i.operand[2], l))); });
}
template <class R, class A, class B, class C, auto f>
void three(Warp& w, const Instr& i, u32 lanes) {
  each(lanes, [&](int l) {
    set<R>(w, i.operand[0], l, f(get<A>(w, i.operand[1], l), get<B>(w, i.operand[2], l), get<C>(w, i.operand[3], l)));
  });
}
template <class T, auto f>
void compare(Warp& w, const Instr& i, u32 lanes) {
  u32 values = 0;
  each(lanes, [&](int l) { values |= u32(f(get<T>(w, i.operand[1], l), get<T>(w, i.operand[2], l))) << l; });
  put(w, i.operand[0], lanes, values);
}
template <class T>
void select(Warp& w, const Instr& i, u32 lanes) {
  each(lanes, [&](int l) {
    set<T>(w, i.operand[0], l, test(w, i.operand[3], l) ? get<T>(w, i.operand[1], l) : get<T>(w, i.operand[2], l));
  });
}
template <auto f>
void logic(Warp& w, const Instr& i, u32 lanes) {
  put(w, i.operand[0], lanes, f(w.predicates[i.operand[1]], w.predicates[i.operand[2]]));
}

}  // namespace emulator
