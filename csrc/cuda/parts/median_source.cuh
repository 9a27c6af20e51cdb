// What the median kernels read, as order keys, and how their blocks divide it.
#pragma once

#include <type_traits>

#include "common/order_key.h"
#include "cuda/parts/map.cuh"

namespace magnet::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;

template <class Key>
MAGNET_DEVICE Key smaller(Key a, Key b) {
  return a < b ? a : b;
}
template <class Key>
MAGNET_DEVICE Key larger(Key a, Key b) {
  return a < b ? b : a;
}

// (N, C, H, W) of fp32, fp16 or bf16 with any strides, in elements. The keys of 16-bit types are those of their own
// format in 32 bits, so that every bit of a value, NaN or not, comes back.
struct MedianSource {
  Element type;
  bool wide;                      // rows of whole and aligned groups of four pixels
  Global<const uint32_t> words;   // of fp32
  Global<const uint16_t> halves;  // of fp16 and bf16
  int64_t c, h, w;
  int64_t sn, sc, sh, sw;
};

// Whether every row is groups of four neighbours that one access may load or store.
inline bool rows_of_fours(const Map& map) {
  const auto fours = [](int64_t size, int64_t stride) { return size == 1 || stride % 4 == 0; };
  return map.sw == 1 && map.w % 4 == 0 && fours(map.h, map.sh) && fours(map.c, map.sc) && fours(map.n, map.sn) &&
         reinterpret_cast<uintptr_t>(map.data) % (4 * map.item()) == 0;
}

inline MedianSource median_source(const Map& x) {
  const bool word = x.type == Element::f32;
  const int64_t elements = extent(x);
  return {x.type,
          rows_of_fours(x),
          global<const uint32_t>(word ? x.data : nullptr, word ? elements : 0),
          global<const uint16_t>(word ? nullptr : x.data, word ? 0 : elements),
          x.c,
          x.h,
          x.w,
          x.sn,
          x.sc,
          x.sh,
          x.sw};
}

// The part of the work that is this block's. Blocks that follow each other work on the channels of the same pixels,
// which share cache lines where classes are next to each other.
struct MedianBlock {
  int64_t plane;   // image * C + channel
  int64_t base;    // of its elements
  uint32_t index;  // among the blocks of the plane

  template <class Source>
  MAGNET_DEVICE MedianBlock(const Source& source, uint32_t blocks_of_plane) {
    // Divisions are slow, and most maps need none.
    const uint32_t channels = static_cast<uint32_t>(source.c);
    const uint32_t pixels = channels == 1 ? blockIdx.x : blockIdx.x / channels;
    const uint32_t channel = blockIdx.x - pixels * channels;
    const uint32_t image = pixels < blocks_of_plane ? 0 : pixels / blocks_of_plane;
    index = pixels - image * blocks_of_plane;
    plane = static_cast<int64_t>(image) * source.c + channel;
    base = image * source.sn + channel * source.sc;
  }
};

// How many of the four pixels from (y, x) on, both >= 0, the map has.
template <class Source>
MAGNET_DEVICE int pixels_inside(const Source& source, int y, int x) {
  if (y >= source.h || x >= source.w) return 0;
  return source.w - x < 4 ? static_cast<int>(source.w - x) : 4;
}

// Whether 0 <= i < size, both of an int.
MAGNET_DEVICE bool is_inside(int i, int64_t size) { return static_cast<uint32_t>(i) < static_cast<uint32_t>(size); }

// The bits of pixels x .. x + 3 of a row, the first of which would be at `four_at`; +0 outside the map and where the
// row is not `inside`. x % 4 == 0 if `wide`.
template <bool wide, class Bits>
MAGNET_DEVICE Pack<Bits, 4> load_four(Global<const Bits> four_at, const MedianSource& source, bool inside, int x) {
  Pack<Bits, 4> four{};
  if constexpr (wide) {
    if (inside & is_inside(x, source.w)) four = load<4>(four_at);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (inside & is_inside(x + i, source.w)) four.value[i] = four_at[i * source.sw];
    }
  }
  return four;
}

// Calls function(format, start, wide) with the format of the source, where pixel (y, x) of a plane would be, and
// whether to load four at a time as a constant; all but `start` alike in every thread.
template <class Function>
MAGNET_DEVICE void visit_source(const MedianSource& source, int64_t plane, int y, int x, Function&& function) {
  const int64_t start = plane + y * source.sh + x * source.sw;
  if (source.type == Element::f32) {
    if (source.wide) {
      function(Float32Format{}, source.words + start, std::true_type{});
    } else {
      function(Float32Format{}, source.words + start, std::false_type{});
    }
  } else if (source.type == Element::f16) {
    if (source.wide) {
      function(Float16Format{}, source.halves + start, std::true_type{});
    } else {
      function(Float16Format{}, source.halves + start, std::false_type{});
    }
  } else {
    if (source.wide) {
      function(BFloat16Format{}, source.halves + start, std::true_type{});
    } else {
      function(BFloat16Format{}, source.halves + start, std::false_type{});
    }
  }
}

}  // namespace magnet::cuda
