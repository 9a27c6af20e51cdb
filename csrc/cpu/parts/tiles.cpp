#include "cpu/parts/tiles.h"

#include <algorithm>
#include <cstring>

#include "cpu/parts/prefetch.h"
#include "cpu/simd/isa.h"
#if MAGNET_X86
#include <emmintrin.h>
#endif

namespace magnet {
namespace {

constexpr int64_t kTileBytes = 32 * 1024;

template <class T>
void transpose_scalar(const T* from, int64_t from_stride, T* to, int64_t to_stride, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) to[c * to_stride + r] = from[r * from_stride + c];
  }
}

#if MAGNET_X86
// A square of 16 bytes each way: 4 x 4 of 32 bits or 8 x 8 of 16 bits.
void transpose_square(const uint32_t* from, int64_t from_stride, uint32_t* to, int64_t to_stride) {
  __m128i r[4], s[4];
  for (int k = 0; k < 4; ++k) r[k] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + k * from_stride));
  s[0] = _mm_unpacklo_epi32(r[0], r[1]);
  s[1] = _mm_unpackhi_epi32(r[0], r[1]);
  s[2] = _mm_unpacklo_epi32(r[2], r[3]);
  s[3] = _mm_unpackhi_epi32(r[2], r[3]);
  r[0] = _mm_unpacklo_epi64(s[0], s[2]);
  r[1] = _mm_unpackhi_epi64(s[0], s[2]);
  r[2] = _mm_unpacklo_epi64(s[1], s[3]);
  r[3] = _mm_unpackhi_epi64(s[1], s[3]);
  for (int k = 0; k < 4; ++k) _mm_storeu_si128(reinterpret_cast<__m128i*>(to + k * to_stride), r[k]);
}

void transpose_square(const uint16_t* from, int64_t from_stride, uint16_t* to, int64_t to_stride) {
  __m128i r[8], s[8];
  for (int k = 0; k < 8; ++k) r[k] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + k * from_stride));
  for (int k = 0; k < 8; k += 2) {
    s[k] = _mm_unpacklo_epi16(r[k], r[k + 1]);
    s[k + 1] = _mm_unpackhi_epi16(r[k], r[k + 1]);
  }
  for (int k = 0; k < 8; k += 4) {
    r[k] = _mm_unpacklo_epi32(s[k], s[k + 2]);
    r[k + 1] = _mm_unpackhi_epi32(s[k], s[k + 2]);
    r[k + 2] = _mm_unpacklo_epi32(s[k + 1], s[k + 3]);
    r[k + 3] = _mm_unpackhi_epi32(s[k + 1], s[k + 3]);
  }
  for (int k = 0; k < 4; ++k) {
    s[2 * k] = _mm_unpacklo_epi64(r[k], r[k + 4]);
    s[2 * k + 1] = _mm_unpackhi_epi64(r[k], r[k + 4]);
  }
  for (int k = 0; k < 8; ++k) _mm_storeu_si128(reinterpret_cast<__m128i*>(to + k * to_stride), s[k]);
}
#endif

// `ahead`: rows that will be read next lie so many rows further, and are asked for on the way; 0: it is not known
// which.
template <class T>
void transpose(const T* from, int64_t from_stride, T* to, int64_t to_stride, int64_t rows, int64_t columns,
               int64_t ahead = 0) {
#if MAGNET_X86
  if constexpr (sizeof(T) <= 4) {
    constexpr int64_t side = 16 / sizeof(T);
    if (rows >= side && columns >= side) {
      // The last square of a row or column of squares overlaps the one before it where they do not come out even.
      for (int64_t i = 0; i < rows; i += side) {
        const int64_t r = std::min(i, rows - side);
        if (ahead) prefetch(from + (r + ahead) * from_stride, side * from_stride * sizeof(T));
        for (int64_t j = 0; j < columns; j += side) {
          const int64_t c = std::min(j, columns - side);
          transpose_square(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
        }
      }
      return;
    }
  }
#endif
  transpose_scalar(from, from_stride, to, to_stride, rows, columns);
}

}  // namespace

int64_t tile_pixels(const Map& map) {
  int64_t fitting = kTileBytes / (std::max<int64_t>(map.c, 1) * map.item());
  return std::clamp<int64_t>(fitting / 16 * 16, 64, 512);
}

int64_t tile_bytes(const Map& map) { return tile_pixels(map) * map.c * map.item(); }

void load_tile(const Map& map, int64_t image, int64_t y, int64_t x, int64_t count, void* tile, int64_t stride) {
  visit_bits(map.type, [&](auto zero) {
    using T = decltype(zero);
    const T* from = reinterpret_cast<const T*>(map.at(image, y, x));
    T* to = static_cast<T*>(tile);
    if (map.planar()) {
      for (int64_t c = 0; c < map.c; ++c) std::memcpy(to + c * stride, from + c * map.sc, count * sizeof(T));
    } else if (map.pixelwise()) {
      transpose(from, map.sw, to, stride, count, map.c, map.sw == map.c ? count : 0);  // the next tile
    } else {
      for (int64_t c = 0; c < map.c; ++c) {
        for (int64_t i = 0; i < count; ++i) to[c * stride + i] = from[c * map.sc + i * map.sw];
      }
    }
  });
}

void store_tile(const Map& map, int64_t image, int64_t y, int64_t x, int64_t count, const void* tile, int64_t stride) {
  visit_bits(map.type, [&](auto zero) {
    using T = decltype(zero);
    const T* from = static_cast<const T*>(tile);
    T* to = reinterpret_cast<T*>(map.at(image, y, x));
    if (map.planar()) {
      for (int64_t c = 0; c < map.c; ++c) std::memcpy(to + c * map.sc, from + c * stride, count * sizeof(T));
    } else if (map.pixelwise()) {
      transpose(from, stride, to, map.sw, map.c, count);
    } else {
      for (int64_t c = 0; c < map.c; ++c) {
        for (int64_t i = 0; i < count; ++i) to[c * map.sc + i * map.sw] = from[c * stride + i];
      }
    }
  });
}

void copy_pixels(const Map& from, const Map& to, int64_t image, int64_t y, int64_t x, int64_t count) {
  visit_bits(from.type, [&](auto zero) {
    using T = decltype(zero);
    const T* source = reinterpret_cast<const T*>(from.at(image, y, x));
    T* target = reinterpret_cast<T*>(to.at(image, y, x));
    if (from.planar() && to.planar()) {
      for (int64_t c = 0; c < from.c; ++c) std::memcpy(target + c * to.sc, source + c * from.sc, count * sizeof(T));
    } else if (from.pixelwise() && to.pixelwise()) {
      if (from.sw == from.c && to.sw == to.c) {
        std::memcpy(target, source, count * from.c * sizeof(T));
      } else {
        for (int64_t i = 0; i < count; ++i) std::memcpy(target + i * to.sw, source + i * from.sw, from.c * sizeof(T));
      }
    } else {
      for (int64_t i = 0; i < count; ++i) {
        for (int64_t c = 0; c < from.c; ++c) target[c * to.sc + i * to.sw] = source[c * from.sc + i * from.sw];
      }
    }
  });
}

}  // namespace magnet
