#include "cpu/parts/replace.h"

#include <cstring>

#include "cpu/parts/tensors.h"
#include "cpu/parts/tiles.h"

namespace magnet {
namespace {
constexpr int64_t kReplaceChunk = 1024;  // points at a time: their offsets stay in cache while the planes go by
}
}  // namespace magnet

#define MAGNET_KERNEL_FILE "cpu/simd/replace_kernel.h"
#include "cpu/simd/foreach_isa.h"

namespace magnet {
namespace {

constexpr int64_t kAhead = 16;  // points between the prefetch and the use

struct Offsets {
  int64_t from[kReplaceChunk], to[kReplaceChunk];
  int64_t count = 0;
};

// Offsets of the points within one plane, those that replace something.
void find_offsets(const Map& from, const Map& to, const int64_t* points, int64_t count, Offsets& offsets) {
  const bool one_row = from.one_row() && to.one_row();
  const int64_t from_step = as_one_row(from).sw, to_step = as_one_row(to).sw;
  offsets.count = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t point = points[i];
    if (point < 0) continue;
    const int64_t k = offsets.count++;
    if (one_row) {
      offsets.from[k] = point * from_step;
      offsets.to[k] = point * to_step;
    } else {
      const int64_t y = point / from.w, x = point - y * from.w;
      offsets.from[k] = y * from.sh + x * from.sw;
      offsets.to[k] = y * to.sh + x * to.sw;
    }
  }
}

template <class T>
void replace_by_plane(const Offsets& at, const T* from, int64_t from_sc, T* to, int64_t to_sc, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c, from += from_sc, to += to_sc) {
    int64_t i = 0;
    for (; i + kAhead < at.count; ++i) {
      __builtin_prefetch(from + at.from[i + kAhead], 0);
      __builtin_prefetch(to + at.to[i + kAhead], 1);
      to[at.to[i]] = from[at.from[i]];
    }
    for (; i < at.count; ++i) to[at.to[i]] = from[at.from[i]];
  }
}

template <class T>
void replace_by_pixel(const Offsets& at, const T* from, T* to, int64_t channels) {
  for (int64_t i = 0; i < at.count; ++i) {
    if (i + kAhead < at.count) {
      __builtin_prefetch(from + at.from[i + kAhead], 0);
      __builtin_prefetch(to + at.to[i + kAhead], 1);
    }
    std::memcpy(to + at.to[i], from + at.from[i], channels * sizeof(T));
  }
}

}  // namespace

void replace_pixels(const Map& from, const Map& to, const int64_t* points, int64_t k, bool ascending) {
  const bool in_planes = from.one_row() && to.one_row() && as_one_row(from).planar() && as_one_row(to).planar();
  const int64_t chunks = (k + kReplaceChunk - 1) / kReplaceChunk;
  for_each_item(from.n * chunks, [&](int64_t, int64_t item) {
    const int64_t image = item / chunks, begin = item % chunks * kReplaceChunk;
    const int64_t count = std::min(kReplaceChunk, k - begin);
    Offsets offsets;
    if (!in_planes) find_offsets(from, to, points + image * k + begin, count, offsets);
    visit_bits(from.type, [&](auto zero) {
      using T = decltype(zero);
      const T* source = reinterpret_cast<const T*>(from.at(image, 0, 0));
      T* target = reinterpret_cast<T*>(to.at(image, 0, 0));
      if (in_planes) {
        MAGNET_BEST(replace_in_planes<T>)
        (points + image * k + begin, count, from.h * from.w, ascending, source, from.sc, target, to.sc, from.c);
      } else if (from.pixelwise() && to.pixelwise() && from.c > 1) {
        replace_by_pixel(offsets, source, target, from.c);
      } else {
        replace_by_plane(offsets, source, from.sc, target, to.sc, from.c);
      }
    });
  });
}

void copy_map(const Map& from, const Map& to) {
  Map source = from, target = to;
  if (from.one_row() && to.one_row()) {
    source = as_one_row(from);
    target = as_one_row(to);
  }
  constexpr int64_t kPixels = 4096;
  const int64_t spans = (source.w + kPixels - 1) / kPixels, rows = source.h;
  for_each_item(source.n * rows * spans, [&](int64_t, int64_t item) {
    const int64_t x = item % spans * kPixels, y = item / spans % rows, image = item / (spans * rows);
    copy_pixels(source, target, image, y, x, std::min(kPixels, source.w - x));
  });
}

}  // namespace magnet
