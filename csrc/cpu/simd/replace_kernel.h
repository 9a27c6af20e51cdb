// Pixels of planes at given points into other planes. Included by foreach_isa.h.

// The points of a chunk. Neighbours that are chosen together, as along an edge or where most of a map is, are moved
// together, as a block of which some lanes are points. AVX-512 writes those alone. AVX2 writes the others as it found
// them, so that it takes blocks that no other thread may be writing to; there and where vectors are short the other
// points are moved by themselves.
template <class T>
struct PointBlocks {
  static constexpr int kPixels = kVectorBytes / sizeof(T);  // neighbours in a block, the first at a multiple of it
  static constexpr int kAhead = 8;                          // blocks between the prefetch and the use
  static constexpr uint32_t kAll = static_cast<uint32_t>((uint64_t{1} << kPixels) - 1);
  int64_t at[kReplaceChunk], single[kReplaceChunk];
  uint32_t lanes[kReplaceChunk];
  int64_t count = 0, singles = 0;

  // Negative points are none. ascending: all points of the image are, so that a block whose points begin and end within
  // the chunk is in no other one. pixels: of a plane.
  MAGNET_INLINE void find(const int64_t* points, int64_t n, int64_t pixels, bool ascending) {
    int64_t i = 0;
    while (i < n) {
      if (points[i] < 0) {
        ++i;
        continue;
      }
      const int64_t begin = i, first = points[i] / kPixels * kPixels;
      uint32_t found = 0;
      for (; i < n && points[i] >= first && points[i] < first + kPixels; ++i) {
        found |= uint32_t{1} << static_cast<int>(points[i] - first);
      }
      const bool mine = MAGNET_AVX2 && ascending && begin > 0 && i < n && first + kPixels <= pixels;
      if (MAGNET_AVX512 || mine || found == kAll) {
        at[count] = first;
        lanes[count++] = found;
      } else {
        for (int64_t k = begin; k < i; ++k) single[singles++] = points[k];
      }
    }
  }

  MAGNET_INLINE void move(const T* from, T* to) const {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t next = at[i + kAhead < count ? i + kAhead : count - 1];
      __builtin_prefetch(from + next, 0);
      __builtin_prefetch(to + next, 1);
      move_lanes(from + at[i], to + at[i], lanes[i]);
    }
    for (int64_t i = 0; i < singles; ++i) {
      const int64_t next = single[i + 2 * kAhead < singles ? i + 2 * kAhead : singles - 1];
      __builtin_prefetch(from + next, 0);
      __builtin_prefetch(to + next, 1);
      to[single[i]] = from[single[i]];
    }
  }

  static MAGNET_INLINE void move_lanes(const T* from, T* to, uint32_t lanes) {
#if MAGNET_AVX512
    if constexpr (sizeof(T) == 8) {
      const __mmask8 mask = static_cast<__mmask8>(lanes);
      _mm512_mask_storeu_epi64(to, mask, _mm512_maskz_loadu_epi64(mask, from));
    } else if constexpr (sizeof(T) == 4) {
      const __mmask16 mask = static_cast<__mmask16>(lanes);
      _mm512_mask_storeu_epi32(to, mask, _mm512_maskz_loadu_epi32(mask, from));
    } else {
      _mm512_mask_storeu_epi16(to, lanes, _mm512_maskz_loadu_epi16(lanes, from));
    }
#elif MAGNET_AVX2
    const __m256i old = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(to));
    const __m256i fresh = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    __m256i chosen;
    if constexpr (sizeof(T) == 8) {
      const __m256i bit = _mm256_setr_epi64x(1, 2, 4, 8);
      chosen = _mm256_cmpeq_epi64(_mm256_and_si256(_mm256_set1_epi64x(lanes), bit), bit);
    } else if constexpr (sizeof(T) == 4) {
      const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
      chosen = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int>(lanes)), bit), bit);
    } else {
      const __m256i bit = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384,
                                            static_cast<short>(32768));
      chosen = _mm256_cmpeq_epi16(_mm256_and_si256(_mm256_set1_epi16(static_cast<short>(lanes)), bit), bit);
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_blendv_epi8(old, fresh, chosen));
#else
    static_cast<void>(lanes);  // all of them
    __builtin_memcpy(to, from, kVectorBytes);
#endif
  }
};

// points: flat, n <= kReplaceChunk of them, of planes of `pixels` that are `from_stride` and `to_stride` elements
// apart. ascending: see find.
template <class T>
static void replace_in_planes(const int64_t* points, int64_t n, int64_t pixels, bool ascending, const T* from,
                              int64_t from_stride, T* to, int64_t to_stride, int64_t planes) {
  PointBlocks<T> blocks;
  blocks.find(points, n, pixels, ascending);
  for (int64_t c = 0; c < planes; ++c, from += from_stride, to += to_stride) blocks.move(from, to);
}
