// Passes over the selection keys of a run of pixels: count digits, count what lies above a threshold, list it.
// Included by foreach_isa.h.

constexpr int kSegment = 1024;  // pixels whose keys are made at a time, in the first-level cache

template <class Format>
using SelectKey = std::conditional_t<sizeof(typename Format::Bits) == 8, uint64_t, uint32_t>;

// Keys of n neighbours of a row, at the top of SelectKey; invalid pixels get key 0, below all others.
template <class Format>
MAGNET_INLINE void load_select_keys(const ScorePlane& plane, int64_t y, int64_t x, int n, SelectKey<Format>* keys) {
  using Bits = typename Format::Bits;
  using Key = SelectKey<Format>;
  constexpr int shift = 8 * (sizeof(Key) - sizeof(Bits));
  const Bits* p = static_cast<const Bits*>(plane.data) + y * plane.sy + x * plane.sx;
  if (plane.sx == 1) {
    for (int i = 0; i < n; ++i) keys[i] = static_cast<Key>(OrderKey<Format>::selection_key(p[i])) << shift;
  } else {
    for (int i = 0; i < n; ++i) keys[i] = static_cast<Key>(OrderKey<Format>::selection_key(p[i * plane.sx])) << shift;
  }
  if (plane.mask == nullptr) return;
  const uint8_t* m = plane.mask + y * plane.mask_sy + x * plane.mask_sx;
  if (plane.mask_sx == 1) {
    for (int i = 0; i < n; ++i) keys[i] = m[i] ? keys[i] : 0;
  } else {
    for (int i = 0; i < n; ++i) keys[i] = m[i * plane.mask_sx] ? keys[i] : 0;
  }
}

// Calls function(first flat index, n, keys) for consecutive segments of pixels begin .. end - 1.
template <class Format, class Function>
MAGNET_INLINE void for_each_segment(const ScorePlane& plane, int64_t begin, int64_t end, const Function& function) {
  alignas(64) SelectKey<Format> keys[kSegment];
  int64_t y = begin / plane.w, x = begin % plane.w;
  for (int64_t i = begin; i < end;) {
    int64_t n = plane.w - x < end - i ? plane.w - x : end - i;
    if (n > kSegment) n = kSegment;
    load_select_keys<Format>(plane, y, x, static_cast<int>(n), keys);
    function(i, static_cast<int>(n), static_cast<const SelectKey<Format>*>(keys));
    i += n;
    x += n;
    if (x == plane.w) x = 0, ++y;
  }
}

// --- vectors of 32-bit keys ---

MAGNET_INLINE U32 load_u32(const uint32_t* p) {
  U32 v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

MAGNET_INLINE uint32_t lanes_above(U32 keys, U32 limit) {
#if MAGNET_AVX512
  return _mm512_cmpgt_epu32_mask((__m512i)keys, (__m512i)limit);
#else
  return mask_bits(greater((I32)(keys ^ 0x80000000u), (I32)(limit ^ 0x80000000u)));
#endif
}

MAGNET_INLINE uint32_t lanes_equal(U32 a, U32 b) { return mask_bits(equal((I32)a, (I32)b)); }

constexpr uint32_t kAllLanes = (uint32_t{1} << kLanes) - 1;

// --- the passes ---

// Counts the digit of `bits` bits at `shift` of every key whose bits above it are `prefix`.
template <class Format>
static void count_digits(const ScorePlane& plane, int64_t begin, int64_t end, int shift, int bits,
                         SelectKey<Format> prefix, SelectHistogram& histogram) {
  using Key = SelectKey<Format>;
  const uint32_t digit_mask = (uint32_t{1} << bits) - 1;
  const bool all = shift + bits == 8 * sizeof(Key);
  for_each_segment<Format>(plane, begin, end, [&](int64_t, int n, const Key* keys) __attribute__((always_inline)) {
    // Later digits differ between neighbours; one table of them stays in the first-level cache.
    const auto count = [&](const Key* key, int i) __attribute__((always_inline)) {
      ++histogram.count[all ? i & 3 : 0][static_cast<uint32_t>(key[i] >> shift) & digit_mask];
    };
    Key matching[kSegment + kLanes];  // collected without a branch, then counted
    int matches = 0, i = 0;
    if constexpr (sizeof(Key) == 4) {
      for (; i + kLanes <= n; i += kLanes) {
        const U32 key = load_u32(keys + i), digits = key >> shift;
        const uint32_t lanes = all ? kAllLanes : lanes_equal(digits >> bits, splat(prefix));
        if (lanes == 0) continue;
        // Flat areas: neighbours that all have one digit count at once.
        if (lanes == kAllLanes && lanes_equal(digits, splat(keys[i] >> shift)) == kAllLanes) {
          histogram.count[0][(keys[i] >> shift) & digit_mask] += kLanes;
        } else if (all) {
          for (int j = 0; j < kLanes; ++j) count(keys + i, j);
        } else {
#if MAGNET_AVX512
          const __m512i first = _mm512_maskz_compress_epi32(static_cast<__mmask16>(lanes), (__m512i)key);
          _mm512_storeu_si512(matching + matches, first);
          matches += __builtin_popcount(lanes);
#else
          for (int j = 0; j < kLanes; ++j) {
            matching[matches] = keys[i + j];
            matches += lanes >> j & 1;
          }
#endif
        }
      }
    }
    for (; i < n; ++i) {
      matching[matches] = keys[i];
      matches += all || (keys[i] >> shift >> bits) == prefix;
    }
    for (i = 0; i < matches; ++i) count(matching, i);
  });
}

// How many keys are above and how many equal the threshold.
template <class Format>
static Tally count_above(const ScorePlane& plane, int64_t begin, int64_t end, SelectKey<Format> threshold) {
  using Key = SelectKey<Format>;
  Tally tally;
  for_each_segment<Format>(plane, begin, end, [&](int64_t, int n, const Key* keys) __attribute__((always_inline)) {
    int above = 0, same = 0;
    for (int i = 0; i < n; ++i) {
      above += keys[i] > threshold;
      same += keys[i] == threshold;
    }
    tally.above += above;
    tally.equal += same;
  });
  return tally;
}

// The flat index of the rank-th (from 0) key that equals the threshold.
template <class Format>
static int64_t find_equal(const ScorePlane& plane, int64_t begin, int64_t end, SelectKey<Format> threshold,
                          int64_t rank) {
  using Key = SelectKey<Format>;
  int64_t found = -1;
  for_each_segment<Format>(plane, begin, end, [&](int64_t first, int n, const Key* keys) {
    for (int i = 0; i < n && found < 0; ++i) {
      if (keys[i] == threshold && rank-- == 0) found = first + i;
    }
  });
  return found;
}

// Lists the flat indices of all keys above the limit; returns how many.
template <class Format>
static int64_t list_above(const ScorePlane& plane, int64_t begin, int64_t end, SelectKey<Format> limit, int64_t* out) {
  using Key = SelectKey<Format>;
  int64_t* next = out;
  for_each_segment<Format>(
      plane, begin, end, [&](int64_t first, int n, const Key* keys) __attribute__((always_inline)) {
        int i = 0;
        if constexpr (sizeof(Key) == 4) {
          for (; i + kLanes <= n; i += kLanes) {
            uint32_t lanes = lanes_above(load_u32(keys + i), splat(limit));
            if (lanes == 0) continue;
#if MAGNET_AVX512
            const __m512i count_up = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
            for (int half = 0; half < kLanes; half += 8) {
              const __mmask8 chosen = static_cast<__mmask8>(lanes >> half);
              const int chosen_count = __builtin_popcount(chosen);
              const __m512i index = _mm512_add_epi64(_mm512_set1_epi64(first + i + half), count_up);
              _mm512_mask_storeu_epi64(next, static_cast<__mmask8>((1u << chosen_count) - 1),
                                       _mm512_maskz_compress_epi64(chosen, index));
              next += chosen_count;
            }
#else
        for (; lanes != 0; lanes &= lanes - 1) *next++ = first + i + __builtin_ctz(lanes);
#endif
          }
        }
        for (; i < n; ++i) {
          if (keys[i] > limit) *next++ = first + i;
        }
      });
  return next - out;
}
