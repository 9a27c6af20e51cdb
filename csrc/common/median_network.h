// Sorting, merging and selecting without a branch: networks of compare-exchanges made by the compiler, and the plan
// that shares them among neighbouring windows of a median.
//
// A median of k x k, k >= 5, is taken for tiles of four horizontal neighbours, whose windows have k - 3 columns in
// common. Columns are sorted once; sorted columns are merged to pairs, pairs to quads (once per four columns, shared by
// all tiles that hold them), quads to the core of a tile. Each half of a tile adds the pair of columns that its two
// windows share, and each window its last column. After every merge only the ranks that can still hold the median are
// kept. After A. Adams, "Fast Median Filters Using Separable Sorting Networks" (SIGGRAPH 2021).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace magnet::median {

// wires[low], wires[high] = min, max of the two; an end that nobody reads later is not wanted.
struct Exchange {
  uint16_t low, high;
  bool want_low, want_high;
};

constexpr int kMaxExchanges = 1024;
constexpr int kMaxWires = 256;

// Exchanges over `wires` inputs; output i is afterwards on wire output[i].
struct Network {
  std::array<Exchange, kMaxExchanges> exchanges{};
  int size = 0;
  std::array<uint16_t, kMaxWires> output{};
  int outputs = 0;
};

namespace detail {

constexpr int16_t kBelow = -1, kAbove = -2;  // wires that hold -inf and +inf: exchanges with them cost nothing

struct Builder {
  std::array<int16_t, kMaxWires> wire{};
  Network network{};

  constexpr void exchange(int i, int j) {
    const int16_t a = wire[i], b = wire[j];
    if (a == kBelow || b == kAbove) return;
    if (a == kAbove || b == kBelow) {
      wire[i] = b;
      wire[j] = a;
      return;
    }
    network.exchanges[network.size++] = {static_cast<uint16_t>(a), static_cast<uint16_t>(b), true, true};
  }

  // Batcher's odd-even merge of the two sorted halves of wires first, first + step, ... (count wires in all).
  constexpr void merge(int first, int span, int step) {
    const int twice = 2 * step;
    if (twice >= span) {
      exchange(first, first + step);
      return;
    }
    merge(first, span, twice);
    merge(first + step, span, twice);
    for (int i = first + step; i < first + span - step; i += twice) exchange(i, i + step);
  }

  constexpr void sort(int first, int span) {
    if (span < 2) return;
    sort(first, span / 2);
    sort(first + span / 2, span / 2);
    merge(first, span, 1);
  }

  // Outputs wires first .. first + count - 1, and drops every end, then every exchange, that none of them needs.
  constexpr Network keep(int first, int count) {
    std::array<bool, kMaxWires> wanted{};
    Network pruned{};
    pruned.outputs = count;
    for (int i = 0; i < count; ++i) {
      pruned.output[i] = static_cast<uint16_t>(wire[first + i]);
      wanted[pruned.output[i]] = true;
    }
    int kept = network.size;
    for (int i = network.size - 1; i >= 0; --i) {
      Exchange e = network.exchanges[i];
      e.want_low = wanted[e.low];
      e.want_high = wanted[e.high];
      if (!e.want_low && !e.want_high) continue;
      wanted[e.low] = wanted[e.high] = true;
      network.exchanges[--kept] = e;
    }
    for (int i = kept; i < network.size; ++i) pruned.exchanges[pruned.size++] = network.exchanges[i];
    return pruned;
  }
};

constexpr int power_of_two_from(int n) {
  int p = 1;
  while (p < n) p *= 2;
  return p;
}

constexpr int cost(const Network& network) {
  int ends = 0;
  for (int i = 0; i < network.size; ++i) ends += network.exchanges[i].want_low + network.exchanges[i].want_high;
  return ends;
}

}  // namespace detail

// Sorts n wires.
constexpr Network sort_network(int n) {
  const int span = detail::power_of_two_from(n);
  detail::Builder builder;
  for (int i = 0; i < span; ++i) builder.wire[i] = i < n ? static_cast<int16_t>(i) : detail::kAbove;
  builder.sort(0, span);
  return builder.keep(0, n);
}

// Merges sorted wires 0 .. n - 1 and n .. n + m - 1 and keeps the ranks first .. first + count - 1.
constexpr Network merge_network(int n, int m, int first, int count) {
  const int half = detail::power_of_two_from(n > m ? n : m);
  Network best{};
  for (int first_list_at_end = 0; first_list_at_end < 2; ++first_list_at_end) {
    const int start = first_list_at_end ? half - n : 0;
    detail::Builder builder;
    for (int i = 0; i < half; ++i) {
      builder.wire[i] = i < start ? detail::kBelow : i < start + n ? static_cast<int16_t>(i - start) : detail::kAbove;
      builder.wire[half + i] = i < m ? static_cast<int16_t>(n + i) : detail::kAbove;
    }
    builder.merge(0, 2 * half, 1);
    const Network candidate = builder.keep(start + first, count);
    if (first_list_at_end == 0 || detail::cost(candidate) < detail::cost(best)) best = candidate;
  }
  return best;
}

// The same, no larger than it has to be.
template <int size, int outputs>
struct Table {
  static constexpr int kSize = size;
  std::array<Exchange, size> exchanges{};
  std::array<uint16_t, outputs> output{};

  constexpr explicit Table(const Network& network) {
    for (int i = 0; i < size; ++i) exchanges[i] = network.exchanges[i];
    for (int i = 0; i < outputs; ++i) output[i] = network.output[i];
  }
};

template <int n>
struct Sort {
  static constexpr Network kNetwork = sort_network(n);
  static constexpr Table<kNetwork.size, n> kTable{kNetwork};
};

template <int n, int m, int first, int count>
struct Merge {
  static constexpr Network kNetwork = merge_network(n, m, first, count);
  static constexpr Table<kNetwork.size, count> kTable{kNetwork};
};

// A sorted list of the values that can still be the median of a window, out of all that were merged into it.
struct Kept {
  int count;   // of values in the list
  int merged;  // of values that it stands for
  int below;   // how many of those were dropped as too low
};

// One merge of a list with `more` new sorted values inside a window of `total`.
struct Step {
  Kept kept;
  int first;  // the lowest rank of the merge that is kept
};

constexpr Step add(Kept list, int more, int total) {
  const int middle = total / 2, merged = list.merged + more;
  const int lowest = middle - (total - merged) - list.below;
  const int highest = middle - list.below;
  const int first = lowest > 0 ? lowest : 0;
  const int last = highest < list.count + more ? highest : list.count + more - 1;
  return {{last - first + 1, merged, list.below + first}, first};
}

// What a tile of four windows of k x k needs; see the top. The core's pieces are its quads, then perhaps a pair.
template <int k>
struct Plan {
  static_assert(k >= 5 && k % 2 == 1);
  static constexpr int kPair = 2 * k, kQuad = 4 * k;
  static constexpr int kQuads = (k - 3) / 4;
  static constexpr bool kPairInCore = (k - 3) % 4 == 2;
  static constexpr int kPieces = kQuads + kPairInCore;

  static constexpr int piece(int i) { return i < kQuads ? kQuad : kPair; }
  // After that many pieces of the core.
  static constexpr Step core(int pieces) {
    if (pieces == 0) return {{0, 0, 0}, 0};
    return add(core(pieces - 1).kept, piece(pieces - 1), k * k);
  }
  // With the pair of columns that two of the windows share.
  static constexpr Step half() { return add(core(kPieces).kept, kPair, k * k); }
};

}  // namespace magnet::median
