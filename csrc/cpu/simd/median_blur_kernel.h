// Medians of rows: floats to keys, networks of min and max on vectors of neighbouring pixels (3 x 3) or of tiles (5 x 5
// and more), keys to floats. See common/median_network.h for the plan. Included by foreach_isa.h.

typedef int64_t I64 __attribute__((vector_size(kVectorBytes)));

MAGNET_INLINE I64 load(const int64_t* p) {
  I64 v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
MAGNET_INLINE void store(int64_t* p, I64 v) { __builtin_memcpy(p, &v, sizeof v); }

// min and max, on AVX-512 by the masked intrinsics: GCC's plain ones warn about their own undefined operand.
#if MAGNET_AVX512
MAGNET_INLINE I32 smaller(I32 a, I32 b) {
  return (I32)_mm512_mask_min_epi32((__m512i)a, 0xffff, (__m512i)a, (__m512i)b);
}
MAGNET_INLINE I32 larger(I32 a, I32 b) {
  return (I32)_mm512_mask_max_epi32((__m512i)a, 0xffff, (__m512i)a, (__m512i)b);
}
#else
MAGNET_INLINE I32 smaller(I32 a, I32 b) { return min(a, b); }
MAGNET_INLINE I32 larger(I32 a, I32 b) { return max(a, b); }
#endif
MAGNET_INLINE I64 smaller(I64 a, I64 b) { return a < b ? a : b; }
MAGNET_INLINE I64 larger(I64 a, I64 b) { return a > b ? a : b; }

template <class Key>
using VectorOf = std::conditional_t<sizeof(Key) == 4, I32, I64>;
template <class Key>
constexpr int kLanesOf = kVectorBytes / sizeof(Key);

// --- networks ---

// Straight-line code where its speed is worth its size; elsewhere the same networks run from tables.
template <class Key>
constexpr bool kStraightLine = MAGNET_AVX2 && sizeof(Key) == 4;

template <const auto& table, int i, class V>
MAGNET_INLINE void exchange(V* wire) {
  constexpr median::Exchange e = table.exchanges[i];
  const V a = wire[e.low], b = wire[e.high];
  if constexpr (e.want_low) wire[e.low] = smaller(a, b);
  if constexpr (e.want_high) wire[e.high] = larger(a, b);
}

template <const auto& table, int begin, class V, int... i>
MAGNET_INLINE void some_exchanges(V* wire, std::integer_sequence<int, i...>) {
  (exchange<table, begin + i>(wire), ...);
}

template <const auto& table, int begin, class V>
MAGNET_INLINE void exchanges(V* wire) {
  constexpr int left = table.kSize - begin, count = left < 128 ? left : 128;  // compilers limit the length of a fold
  some_exchanges<table, begin>(wire, std::make_integer_sequence<int, count>());
  if constexpr (left > count) exchanges<table, begin + count>(wire);
}

template <class Key, const auto& table, class V>
MAGNET_INLINE void run(V* wire) {
  if constexpr (kStraightLine<Key>) {
    exchanges<table, 0>(wire);
  } else {
    for (const median::Exchange& e : table.exchanges) {
      const V a = wire[e.low], b = wire[e.high];
      wire[e.low] = smaller(a, b);
      wire[e.high] = larger(a, b);
    }
  }
}

template <const auto& table, int stride, class Key, class V, size_t... i>
MAGNET_INLINE void store_outputs(const V* wire, Key* out, std::index_sequence<i...>) {
  (store(out + i * stride, wire[table.output[i]]), ...);
}

// Sorted lists of vectors a[0 .. n) and b[0 .. m), list elements a_stride and b_stride keys apart -> ranks first ..
// first + count - 1 of their union.
template <class Key, int n, int m, int first, int count, int a_stride, int b_stride, int out_stride>
__attribute__((noinline)) void merge_lists(const Key* a, const Key* b, Key* out) {
  using V = VectorOf<Key>;
  constexpr auto& table = median::Merge<n, m, first, count>::kTable;
  V wire[n + m];
  for (int i = 0; i < n; ++i) wire[i] = load(a + i * a_stride);
  for (int i = 0; i < m; ++i) wire[n + i] = load(b + i * b_stride);
  run<Key, table>(wire);
  store_outputs<table, out_stride>(wire, out, std::make_index_sequence<count>());
}

// rows[0 .. k) at `offset` -> sorted columns.
template <class Key, int k, int out_stride>
__attribute__((noinline)) void sort_columns(const Key* const* rows, int offset, Key* out) {
  using V = VectorOf<Key>;
  constexpr auto& table = median::Sort<k>::kTable;
  V wire[k];
  for (int i = 0; i < k; ++i) wire[i] = load(rows[i] + offset);
  run<Key, table>(wire);
  store_outputs<table, out_stride>(wire, out, std::make_index_sequence<k>());
}

// Of a sorted list of k + 1 and a sorted column of k, the middle one.
template <class Key, int k, int list_stride, int column_stride>
MAGNET_INLINE void store_middle(const Key* list, const Key* column, Key* out) {
  auto middle = load(list);
  for (int i = 1; i <= k; ++i) {
    middle = larger(middle, smaller(load(list + i * list_stride), load(column + (k - i) * column_stride)));
  }
  store(out, middle);
}

// --- 5 x 5 and more: tiles of four outputs, a lane each ---

constexpr int kBlockTiles = 128;  // of one pass along a row
template <class Key>
constexpr int kHalo = kLanesOf<Key> > 8 ? kLanesOf<Key> : 8;  // tiles read beyond the block: 5 at most
template <class Key>
constexpr int kRow = kBlockTiles + kHalo<Key>;  // keys between the ranks of a list, or columns mod 4

template <class Key, int k>
struct Lists {
  alignas(64) Key columns[4][k][kRow<Key>];    // column 4 t + q is [q][rank][t]
  alignas(64) Key pairs[2][2 * k][kRow<Key>];  // of columns 4 t + 2 q and the next
  alignas(64) Key quads[4 * k][kRow<Key>];     // of columns 4 t .. 4 t + 3
};

// Everything about the columns of tiles t .. t + lanes - 1. rows: k rows of keys, column 4 t + q at q * kRow + t.
template <class Key, int k>
MAGNET_INLINE void sort_and_merge_columns(const Key* const* rows, int t, Lists<Key, k>& lists) {
  constexpr int row = kRow<Key>;
  for (int q = 0; q < 4; ++q) sort_columns<Key, k, row>(rows, q * row + t, &lists.columns[q][0][t]);
  for (int q = 0; q < 2; ++q) {
    merge_lists<Key, k, k, 0, 2 * k, row, row, row>(&lists.columns[2 * q][0][t], &lists.columns[2 * q + 1][0][t],
                                                    &lists.pairs[q][0][t]);
  }
  if constexpr (median::Plan<k>::kQuads > 0) {
    merge_lists<Key, 2 * k, 2 * k, 0, 4 * k, row, row, row>(&lists.pairs[0][0][t], &lists.pairs[1][0][t],
                                                            &lists.quads[0][t]);
  }
}

// The outputs of tiles t .. t + lanes - 1: window p of tile t covers columns 4 t + 1 + p and the next k - 1.
template <class Key, int k>
MAGNET_INLINE void finish_tiles(const Lists<Key, k>& lists, int t, Key* out) {
  using Plan = median::Plan<k>;
  constexpr int row = kRow<Key>, lanes = kLanesOf<Key>;
  constexpr int first_rank = Plan::core(1).first, first_count = Plan::core(1).kept.count;
  constexpr median::Step half = Plan::half();
  constexpr int core_count = Plan::core(Plan::kPieces).kept.count;
  static_assert(half.kept.count == k + 1);
  alignas(64) Key local[2][median::kMaxWires * lanes];
  alignas(64) Key halves[2][(k + 1) * lanes];

  const Key* first_piece = (Plan::kQuads > 0 ? &lists.quads[first_rank][t + 1] : &lists.pairs[0][first_rank][t + 1]);
  const Key* left = &lists.pairs[1][0][t];
  const Key* right = &lists.pairs[Plan::kPairInCore][0][t + 1 + Plan::kQuads];
  const auto piece = [&](int i) {
    return i < Plan::kQuads ? &lists.quads[0][t + 1 + i] : &lists.pairs[0][0][t + 1 + i];
  };
  const auto add_sides = [&]<int stride>(const Key* core) {
    merge_lists<Key, core_count, 2 * k, half.first, k + 1, stride, row, lanes>(core, left, halves[0]);
    merge_lists<Key, core_count, 2 * k, half.first, k + 1, stride, row, lanes>(core, right, halves[1]);
  };
  if constexpr (Plan::kPieces == 1) {
    add_sides.template operator()<row>(first_piece);
  } else {
    constexpr median::Step two = Plan::core(2);
    merge_lists<Key, first_count, Plan::piece(1), two.first, two.kept.count, row, row, lanes>(first_piece, piece(1),
                                                                                              local[0]);
    if constexpr (Plan::kPieces == 3) {
      constexpr median::Step three = Plan::core(3);
      merge_lists<Key, two.kept.count, Plan::piece(2), three.first, three.kept.count, lanes, row, lanes>(
          local[0], piece(2), local[1]);
    }
    add_sides.template operator()<lanes>(local[Plan::kPieces - 2]);
  }
  const auto column = [&](int c) { return &lists.columns[c % 4][0][t + c / 4]; };
  store_middle<Key, k, lanes, row>(halves[0], column(1), out + t);
  store_middle<Key, k, lanes, row>(halves[0], column(k + 1), out + row + t);
  store_middle<Key, k, lanes, row>(halves[1], column(3), out + 2 * row + t);
  store_middle<Key, k, lanes, row>(halves[1], column(k + 3), out + 3 * row + t);
}

// One row of `tiles` tiles.
template <class Key, int k>
MAGNET_INLINE void median_of_tiles(const Key* const* rows, int tiles, Lists<Key, k>& lists, Key* out) {
  constexpr int lanes = kLanesOf<Key>, ahead = median::Plan<k>::kQuads + 2;
  int ready = 0;
  for (int t = 0; t < tiles; t += lanes) {
    for (; ready < t + lanes + ahead; ready += lanes) sort_and_merge_columns<Key, k>(rows, ready, lists);
    finish_tiles<Key, k>(lists, t, out);
  }
}

// --- floats to keys and back ---

// A call for a part of a row: not inlined, as all window sizes share these, which take the most time to compile.
#define MAGNET_SHARED __attribute__((noinline))

// Keys of columns x .. x + count - 1 of a row, those outside 0 .. w - 1 zero.
template <class Format, class Key>
MAGNET_SHARED void load_keys(const typename Format::Bits* __restrict row, int64_t stride, int64_t w, int64_t x,
                             int count, Key* __restrict out) {
  using Keys = OrderKey<Format>;
  const int begin = static_cast<int>(x < 0 ? (-x < count ? -x : count) : 0);
  const int end = static_cast<int>(w - x < count ? (w > x ? w - x : 0) : count);
  for (int i = 0; i < begin; ++i) out[i] = Keys::kMedianZero;
  if (stride == 1) {
    for (int i = begin; i < end; ++i) out[i] = Keys::median_key(row[x + i]);
  } else {
    for (int i = begin; i < end; ++i) out[i] = Keys::median_key(row[(x + i) * stride]);
  }
  for (int i = begin > end ? begin : end; i < count; ++i) out[i] = Keys::kMedianZero;
}

template <class Format, class Key>
MAGNET_SHARED void store_keys(const Key* __restrict keys, int count, typename Format::Bits* __restrict out,
                              int64_t stride) {
  using Keys = OrderKey<Format>;
  if (stride == 1) {
    for (int i = 0; i < count; ++i) out[i] = Keys::from_median_key(static_cast<typename Format::Key>(keys[i]));
  } else {
    for (int i = 0; i < count; ++i) out[i * stride] = Keys::from_median_key(static_cast<typename Format::Key>(keys[i]));
  }
}

// Columns 4 t + q of a line to keys[q * kRow + t], and back; t < columns.
template <class Key>
MAGNET_SHARED void split_columns(const Key* __restrict line, int64_t columns, Key* __restrict keys) {
  for (int64_t t = 0; t < columns; ++t) {
    for (int q = 0; q < 4; ++q) keys[q * kRow<Key> + t] = line[4 * t + q];
  }
}

template <class Key>
MAGNET_SHARED void join_columns(const Key* __restrict keys, int64_t columns, Key* __restrict line) {
  for (int64_t t = 0; t < columns; ++t) {
    for (int q = 0; q < 4; ++q) line[4 * t + q] = keys[q * kRow<Key> + t];
  }
}

#undef MAGNET_SHARED

template <class Format>
using KeyOf = std::conditional_t<sizeof(typename Format::Bits) == 8, int64_t, int32_t>;

// --- planes ---

template <class Format, int k>
void median_rows_tiled(const MedianPlane& plane, int64_t y0, int64_t y1) {
  using Bits = typename Format::Bits;
  using Key = KeyOf<Format>;
  constexpr int row = kRow<Key>, radius = k / 2;
  const auto* src = static_cast<const Bits*>(plane.src);
  auto* dst = static_cast<Bits*>(plane.dst);
  Lists<Key, k> lists;
  alignas(64) Key ring[k][4 * row];
  alignas(64) Key line[4 * row];
  alignas(64) Key out[4 * row];
  const int64_t all_tiles = (plane.w + 3) / 4;
  for (int64_t tile = 0; tile < all_tiles; tile += kBlockTiles) {
    const int tiles = static_cast<int>(all_tiles - tile < kBlockTiles ? all_tiles - tile : kBlockTiles);
    const int lanes = kLanesOf<Key>;
    const int columns = (tiles + lanes - 1) / lanes * lanes + kHalo<Key>;
    const auto read = [&](int64_t y, Key* keys) {
      const bool inside = y >= 0 && y < plane.h;
      load_keys<Format>(src + (inside ? y * plane.src_sy : 0), plane.src_sx, inside ? plane.w : 0,
                        4 * tile - radius - 1, 4 * columns, line);
      split_columns(line, columns, keys);
    };
    for (int i = 0; i < k - 1; ++i) read(y0 - radius + i, ring[i]);
    int newest = k - 1;
    for (int64_t y = y0; y < y1; ++y) {
      read(y + radius, ring[newest]);
      newest = newest + 1 == k ? 0 : newest + 1;
      const Key* rows[k];
      for (int i = 0; i < k; ++i) rows[i] = ring[i];
      median_of_tiles<Key, k>(rows, tiles, lists, out);
      join_columns(out, columns, line);
      const int64_t x = 4 * tile, left = plane.w - x;
      store_keys<Format>(line, static_cast<int>(left < 4 * tiles ? left : 4 * tiles),
                         dst + y * plane.dst_sy + x * plane.dst_sx, plane.dst_sx);
    }
  }
}

// 3 x 3: columns are sorted once; the median is the middle of the highest low, the middle middle and the lowest high.
template <class Format>
void median_rows_3_general(const MedianPlane& plane, int64_t y0, int64_t y1) {
  using Bits = typename Format::Bits;
  using Key = KeyOf<Format>;
  constexpr int lanes = kLanesOf<Key>, block = 1024, width = block + 2 * lanes;
  const auto* src = static_cast<const Bits*>(plane.src);
  auto* dst = static_cast<Bits*>(plane.dst);
  alignas(64) Key ring[3][width];
  alignas(64) Key low[width], middle[width], high[width], out[width];
  for (int64_t x = 0; x < plane.w; x += block) {
    const int count = static_cast<int>(plane.w - x < block ? plane.w - x : block);
    const int columns = (count + 2 + lanes - 1) / lanes * lanes;  // column i is pixel x - 1 + i
    const auto read = [&](int64_t y, Key* keys) {
      const bool inside = y >= 0 && y < plane.h;
      load_keys<Format>(src + (inside ? y * plane.src_sy : 0), plane.src_sx, inside ? plane.w : 0, x - 1, columns,
                        keys);
    };
    read(y0 - 1, ring[0]);
    read(y0, ring[1]);
    int newest = 2;
    for (int64_t y = y0; y < y1; ++y) {
      read(y + 1, ring[newest]);
      newest = newest == 2 ? 0 : newest + 1;
      for (int i = 0; i < columns; i += lanes) {
        auto a = load(ring[0] + i), b = load(ring[1] + i), c = load(ring[2] + i);
        const auto ab = smaller(a, b), ba = larger(a, b);
        store(low + i, smaller(ab, c));
        store(high + i, larger(ba, c));
        store(middle + i, larger(ab, smaller(ba, c)));
      }
      for (int i = 0; i < count; i += lanes) {
        const auto l = larger(larger(load(low + i), load(low + i + 1)), load(low + i + 2));
        const auto h = smaller(smaller(load(high + i), load(high + i + 1)), load(high + i + 2));
        const auto a = load(middle + i), b = load(middle + i + 1), c = load(middle + i + 2);
        const auto m = larger(smaller(a, b), smaller(larger(a, b), c));
        store(out + i, larger(smaller(l, m), smaller(larger(l, m), h)));
      }
      store_keys<Format>(out, count, dst + y * plane.dst_sy + x * plane.dst_sx, plane.dst_sx);
    }
  }
}

#include "cpu/simd/median_blur_3_kernel.h"

template <class Format>
void median_rows_3(const MedianPlane& plane, int64_t y0, int64_t y1) {
  int64_t begin = y0 > 1 ? y0 : 1, end = y1 < plane.h - 1 ? y1 : plane.h - 1;
  if (sizeof(typename Format::Bits) == 8 || plane.src_sx != 1 || plane.dst_sx != 1 || end - begin < 2) {
    return median_rows_3_general<Format>(plane, y0, y1);
  }
  end = begin + (end - begin) / 2 * 2;
  if (y0 < begin) median_rows_3_general<Format>(plane, y0, begin);
  if constexpr (sizeof(typename Format::Bits) < 8) median_3_row_pairs<Format>(plane, begin, end);
  if (end < y1) median_rows_3_general<Format>(plane, end, y1);
}

// Rows y0 .. y1 - 1 of the median of k x k, in two halves, which two files compile.
template <class Format>
static void median_rows_to_11(const MedianPlane& plane, int k, int64_t y0, int64_t y1) {
  switch (k) {
    case 3:
      return median_rows_3<Format>(plane, y0, y1);
    case 5:
      return median_rows_tiled<Format, 5>(plane, y0, y1);
    case 7:
      return median_rows_tiled<Format, 7>(plane, y0, y1);
    case 9:
      return median_rows_tiled<Format, 9>(plane, y0, y1);
    case 11:
      return median_rows_tiled<Format, 11>(plane, y0, y1);
  }
}

template <class Format>
static void median_rows_from_13(const MedianPlane& plane, int k, int64_t y0, int64_t y1) {
  return k == 13 ? median_rows_tiled<Format, 13>(plane, y0, y1) : median_rows_tiled<Format, 15>(plane, y0, y1);
}
