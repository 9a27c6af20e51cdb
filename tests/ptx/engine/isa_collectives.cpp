// What the lanes of a warp do together.
#include "types.h"

namespace emulator {
namespace {

// shfl: d[|p], a, b, c, mask
template <class SourceOf, bool kPredicate>
void shuffle(Warp& w, const Part* parts, int count, u32 lanes) {
  u32 value[32];
  for (int k = 0; k < count; ++k) {
    each(parts[k].lanes, [&](int l) { value[l] = get<u32>(w, parts[k].instr->operand[kPredicate ? 2 : 1], l); });
  }
  for (int k = 0; k < count; ++k) {
    const Instr& i = *parts[k].instr;
    const int a = kPredicate ? 2 : 1;
    u32 inside = 0;
    each(parts[k].lanes, [&](int l) {
      const u32 b = get<u32>(w, i.operand[a + 1], l) & 31, c = get<u32>(w, i.operand[a + 2], l);
      const int clamp = c & 31, segment = c >> 8 & 31;
      if (const int within = 31 & ~segment; within & (within + 1)) {
        const int width = 32 - segment;
        fail(w, i, l, "shuffle of width " + std::to_string(width) + "; expected a power of two");
      }
      const int most = (l & segment) | (clamp & ~segment), least = l & segment;
      bool valid;
      int j = SourceOf::of(l, int(b), least, most, segment, valid);
      if (!valid) j = l;
      inside |= u32(valid) << l;
      if (!(lanes >> j & 1)) fail(w, i, l, "shfl reads lane " + std::to_string(j) + ", which does not take part");
      set<u32>(w, i.operand[0], l, value[j]);
    });
    if (kPredicate) put(w, i.operand[1], parts[k].lanes, inside);
  }
}
struct Up {
  static int of(int l, int b, int, int most, int, bool& valid) {
    valid = l - b >= most;
    return l - b;
  }
};
struct Down {
  static int of(int l, int b, int, int most, int, bool& valid) {
    valid = l + b <= most;
    return l + b;
  }
};
struct Butterfly {
  static int of(int l, int b, int, int most, int, bool& valid) {
    valid = (l ^ b) <= most;
    return l ^ b;
  }
};
struct Index {
  static int of(int, int b, int least, int most, int segment, bool& valid) {
    const int j = least | (b & ~segment);
    valid = j <= most;
    return j;
  }
};

void ballot(Warp& w, const Part* parts, int count, u32) {  // d, p, mask
  u32 all = 0;
  for (int k = 0; k < count; ++k) all |= w.predicates[parts[k].instr->operand[1]] & parts[k].lanes;
  for (int k = 0; k < count; ++k) each(parts[k].lanes, [&](int l) { set<u32>(w, parts[k].instr->operand[0], l, all); });
}
template <bool kAll>
void vote(Warp& w, const Part* parts, int count, u32 lanes) {  // p, q, mask
  u32 all = 0;
  for (int k = 0; k < count; ++k) all |= w.predicates[parts[k].instr->operand[1]] & parts[k].lanes;
  const bool result = kAll ? all == lanes : all != 0;
  for (int k = 0; k < count; ++k) put(w, parts[k].instr->operand[0], parts[k].lanes, result ? ~0u : 0);
}
template <class T, auto f>
void reduce(Warp& w, const Part* parts, int count, u32) {  // d, a, mask
  bool first = true;
  T all{};
  for (int k = 0; k < count; ++k) {
    each(parts[k].lanes, [&](int l) {
      const T x = get<T>(w, parts[k].instr->operand[1], l);
      all = first ? x : f(all, x);
      first = false;
    });
  }
  for (int k = 0; k < count; ++k) each(parts[k].lanes, [&](int l) { set<T>(w, parts[k].instr->operand[0], l, all); });
}
template <class T>
void match_any(Warp& w, const Part* parts, int count, u32 lanes) {  // d, a, mask
  T value[32];
  for (int k = 0; k < count; ++k)
    each(parts[k].lanes, [&](int l) { value[l] = get<T>(w, parts[k].instr->operand[1], l); });
  for (int k = 0; k < count; ++k) {
    each(parts[k].lanes, [&](int l) {
      u32 same = 0;
      each(lanes, [&](int other) { same |= u32(value[other] == value[l]) << other; });
      set<u32>(w, parts[k].instr->operand[0], l, same);
    });
  }
}
void warp_barrier(Warp& w, const Part*, int, u32 lanes) { w.order.join(lanes, lanes == ~0u); }
// ldmatrix .m8n8.b16: lane 8 m + r has the address of row r of matrix m; lane l gets elements 2 (l % 4) and the next
// of row l / 4 of each matrix (kTransposed: of columns).
template <int kN, bool kTransposed>
void load_matrices(Warp& w, const Part* parts, int, u32) {
  const Instr& i = *parts[0].instr;
  u16 element[kN][8][8];
  for (int m = 0; m < kN; ++m) {
    for (int r = 0; r < 8; ++r) {
      const int l = 8 * m + r;
      std::memcpy(element[m][r], shared_at(w, i, l, get<u32>(w, i.operand[kN], l) + i.offset, 16, Access::read), 16);
    }
  }
  for (int m = 0; m < kN; ++m) {
    for (int l = 0; l < 32; ++l) {
      const int r = l / 4, c = l % 4 * 2;
      const u32 x = kTransposed ? element[m][c][r] | u32(element[m][c + 1][r]) << 16
                                : element[m][r][c] | u32(element[m][r][c + 1]) << 16;
      set<u32>(w, i.operand[m], l, x);
    }
  }
}
template <int kN, bool kTransposed>
void store_matrices(Warp& w, const Part* parts, int, u32) {
  const Instr& i = *parts[0].instr;
  u16 element[kN][8][8];
  for (int m = 0; m < kN; ++m) {
    for (int l = 0; l < 32; ++l) {
      const int r = l / 4, c = l % 4 * 2;
      const u32 x = get<u32>(w, i.operand[1 + m], l);
      (kTransposed ? element[m][c][r] : element[m][r][c]) = u16(x);
      (kTransposed ? element[m][c + 1][r] : element[m][r][c + 1]) = u16(x >> 16);
    }
  }
  for (int m = 0; m < kN; ++m) {
    for (int r = 0; r < 8; ++r) {
      const int l = 8 * m + r;
      const u64 a = get<u32>(w, i.operand[0], l) + i.offset;
      std::memcpy(shared_at(w, i, l, a, 16, Access::write, element[m][r]), element[m][r], 16);
    }
  }
}

}  // namespace

void add_collectives(Table& t) {
#define SHUFFLE(NAME, HOW)                                                           \
  t["shfl.sync." NAME ".b32"] = {Kind::collective, nullptr, shuffle<HOW, false>, 1}; \
  t["shfl.sync." NAME ".b32|p"] = {Kind::collective, nullptr, shuffle<HOW, true>, 1};
  SHUFFLE("up", Up);
  SHUFFLE("down", Down);
  SHUFFLE("bfly", Butterfly);
  SHUFFLE("idx", Index);
  t["vote.sync.ballot.b32"] = {Kind::collective, nullptr, ballot, 1};
  t["vote.sync.any.pred"] = {Kind::collective, nullptr, vote<false>, 1};
  t["vote.sync.all.pred"] = {Kind::collective, nullptr, vote<true>, 1};
  t["match.any.sync.b64"] = {Kind::collective, nullptr, match_any<u64>, 1};
  t["match.any.sync.b32"] = {Kind::collective, nullptr, match_any<u32>, 1};
#define REDUCE(T)                                                                                                   \
  t["redux.sync.add." #T] = {Kind::collective, nullptr, reduce<T, [](T a, T b) { return T(u32(a) + u32(b)); }>, 1}; \
  t["redux.sync.min." #T] = {Kind::collective, nullptr, reduce<T, [](T a, T b) { return a < b ? a : b; }>, 1};      \
  t["redux.sync.max." #T] = {Kind::collective, nullptr, reduce<T, [](T a, T b) { return (a > b) ? a : b; }>, 1};
  REDUCE(s32);
  REDUCE(u32);
  t["redux.sync.and.b32"] = {Kind::collective, nullptr, reduce<u32, [](u32 a, u32 b) { return a & b; }>, 1};
  t["redux.sync.or.b32"] = {Kind::collective, nullptr, reduce<u32, [](u32 a, u32 b) { return a | b; }>, 1};
  t["redux.sync.xor.b32"] = {Kind::collective, nullptr, reduce<u32, [](u32 a, u32 b) { return a ^ b; }>, 1};
  t["bar.warp.sync"] = {Kind::collective, nullptr, warp_barrier, 1};
#define MATRICES(N)                                                                                                  \
  t["ldmatrix.sync.aligned.m8n8.x" #N ".shared.b16"] = {Kind::collective, nullptr, load_matrices<N, false>, 0};      \
  t["ldmatrix.sync.aligned.m8n8.x" #N ".trans.shared.b16"] = {Kind::collective, nullptr, load_matrices<N, true>, 0}; \
  t["stmatrix.sync.aligned.m8n8.x" #N ".shared.b16"] = {Kind::collective, nullptr, store_matrices<N, false>, 0};     \
  t["stmatrix.sync.aligned.m8n8.x" #N ".trans.shared.b16"] = {Kind::collective, nullptr, store_matrices<N, true>, 0};
  MATRICES(1);
  MATRICES(2);
  MATRICES(4);
}

}  // namespace emulator
