// The 3 x 3 median of dense rows of 16 and 32 bit floats, two rows at a time, all in registers: columns are sorted
// once, and their neighbours come from the vectors before and after. Included by median_blur_kernel.h.

typedef int16_t I16 __attribute__((vector_size(kVectorBytes)));

MAGNET_INLINE I16 smaller(I16 a, I16 b) {
#if MAGNET_AVX512
  return (I16)_mm512_min_epi16((__m512i)a, (__m512i)b);
#elif MAGNET_AVX2
  return (I16)_mm256_min_epi16((__m256i)a, (__m256i)b);
#elif MAGNET_X86
  return (I16)_mm_min_epi16((__m128i)a, (__m128i)b);
#else
  return a < b ? a : b;
#endif
}

MAGNET_INLINE I16 larger(I16 a, I16 b) {
#if MAGNET_AVX512
  return (I16)_mm512_max_epi16((__m512i)a, (__m512i)b);
#elif MAGNET_AVX2
  return (I16)_mm256_max_epi16((__m256i)a, (__m256i)b);
#elif MAGNET_X86
  return (I16)_mm_max_epi16((__m128i)a, (__m128i)b);
#else
  return a > b ? a : b;
#endif
}

// Each lane's left neighbour; the first one's is the last lane of `before`.
template <class V>
MAGNET_INLINE V left_neighbours(V before, V v) {
  constexpr int bytes = sizeof(v[0]);
#if MAGNET_AVX512
  const __m512i middle = _mm512_alignr_epi64((__m512i)v, (__m512i)before, 6);
  return (V)_mm512_alignr_epi8((__m512i)v, middle, 16 - bytes);
#elif MAGNET_AVX2
  const __m256i middle = _mm256_permute2x128_si256((__m256i)before, (__m256i)v, 0x21);
  return (V)_mm256_alignr_epi8((__m256i)v, middle, 16 - bytes);
#elif MAGNET_X86
  return (V)_mm_or_si128(_mm_slli_si128((__m128i)v, bytes), _mm_srli_si128((__m128i)before, 16 - bytes));
#else
  V both[2] = {before, v};
  __builtin_memcpy(&v, reinterpret_cast<const char*>(both + 1) - bytes, sizeof v);
  return v;
#endif
}

// Each lane's right neighbour; the last one's is the first lane of `after`.
template <class V>
MAGNET_INLINE V right_neighbours(V v, V after) {
  constexpr int bytes = sizeof(v[0]);
#if MAGNET_AVX512
  const __m512i middle = _mm512_alignr_epi64((__m512i)after, (__m512i)v, 2);
  return (V)_mm512_alignr_epi8(middle, (__m512i)v, bytes);
#elif MAGNET_AVX2
  const __m256i middle = _mm256_permute2x128_si256((__m256i)v, (__m256i)after, 0x21);
  return (V)_mm256_alignr_epi8(middle, (__m256i)v, bytes);
#elif MAGNET_X86
  return (V)_mm_or_si128(_mm_srli_si128((__m128i)v, bytes), _mm_slli_si128((__m128i)after, 16 - bytes));
#else
  V both[2] = {v, after};
  __builtin_memcpy(&v, reinterpret_cast<const char*>(both) + bytes, sizeof v);
  return v;
#endif
}

// Columns of three, sorted.
template <class V>
struct Columns {
  V low, middle, high;
};

template <class V>
MAGNET_INLINE V median_3(V a, V b, V c) {
  return larger(smaller(a, b), smaller(larger(a, b), c));
}

// The middle of the highest low, the middle middle and the lowest high.
template <class V>
MAGNET_INLINE V median_of_columns(const Columns<V>& before, const Columns<V>& at, const Columns<V>& after) {
  const V low = larger(larger(left_neighbours(before.low, at.low), at.low), right_neighbours(at.low, after.low));
  const V high =
      smaller(smaller(left_neighbours(before.high, at.high), at.high), right_neighbours(at.high, after.high));
  const V middle =
      median_3(left_neighbours(before.middle, at.middle), at.middle, right_neighbours(at.middle, after.middle));
  return median_3(low, middle, high);
}

// Rows y0 .. y1 - 1, an even number, none the first or last of the plane; columns dense in src and dst.
template <class Format>
static void median_3_row_pairs(const MedianPlane& plane, int64_t y0, int64_t y1) {
  using Key = typename Format::Key;
  using V = std::conditional_t<sizeof(Key) == 2, I16, I32>;
  using Keys = OrderKey<Format>;
  constexpr int lanes = kVectorBytes / sizeof(Key);
  constexpr Key magnitude = static_cast<Key>(Keys::kMagnitude), wrap = static_cast<Key>(Keys::kWrap);
  const int64_t w = plane.w;
  struct Pair {
    Columns<V> upper, lower;  // of the windows around rows y and y + 1
  };

  for (int64_t y = y0; y < y1; y += 2) {
    const Key* rows[4];
    for (int i = 0; i < 4; ++i) rows[i] = static_cast<const Key*>(plane.src) + (y - 1 + i) * plane.src_sy;
    Key* out[2];
    for (int i = 0; i < 2; ++i) out[i] = static_cast<Key*>(plane.dst) + (y + i) * plane.dst_sy;

    const auto key_of = [&](V bits) __attribute__((always_inline)) {
      return (bits ^ ((bits >> Keys::kTop) & magnitude)) + wrap;
    };
    const auto load_full = [&](int64_t x, int i) __attribute__((always_inline)) {
      V bits;
      __builtin_memcpy(&bits, rows[i] + x, sizeof bits);
      return key_of(bits);
    };
    const auto load_edge = [&](int64_t x, int i) __attribute__((always_inline)) {  // zero beyond the row
      V bits{};
      if (x < w) __builtin_memcpy(&bits, rows[i] + x, (x + lanes <= w ? lanes : w - x) * sizeof(Key));
      return key_of(bits);
    };
    const auto sort_pair = [&](V above, V upper, V lower, V below) __attribute__((always_inline)) {
      const V low = smaller(upper, lower), high = larger(upper, lower);
      return Pair{{smaller(low, above), larger(low, smaller(high, above)), larger(high, above)},
                  {smaller(low, below), larger(low, smaller(high, below)), larger(high, below)}};
    };
    const auto bits_of = [&](V keys) __attribute__((always_inline)) {
      keys -= wrap;
      return keys ^ ((keys >> Keys::kTop) & magnitude);
    };

    const V zero = V{} + wrap;
    Pair before{{zero, zero, zero}, {zero, zero, zero}};
    Pair at = sort_pair(load_edge(0, 0), load_edge(0, 1), load_edge(0, 2), load_edge(0, 3));
    int64_t x = 0;
    for (; x + 2 * lanes <= w; x += lanes) {
      const int64_t next = x + lanes;
      const Pair after = sort_pair(load_full(next, 0), load_full(next, 1), load_full(next, 2), load_full(next, 3));
      const V upper = bits_of(median_of_columns(before.upper, at.upper, after.upper));
      const V lower = bits_of(median_of_columns(before.lower, at.lower, after.lower));
      __builtin_memcpy(out[0] + x, &upper, sizeof upper);
      __builtin_memcpy(out[1] + x, &lower, sizeof lower);
      before = at;
      at = after;
    }
    for (; x < w; x += lanes) {
      const int64_t next = x + lanes, bytes = (next <= w ? lanes : w - x) * sizeof(Key);
      const Pair after = sort_pair(load_edge(next, 0), load_edge(next, 1), load_edge(next, 2), load_edge(next, 3));
      const V upper = bits_of(median_of_columns(before.upper, at.upper, after.upper));
      const V lower = bits_of(median_of_columns(before.lower, at.lower, after.lower));
      __builtin_memcpy(out[0] + x, &upper, bytes);
      __builtin_memcpy(out[1] + x, &lower, bytes);
      before = at;
      at = after;
    }
  }
}
