// Replacement of pixels: along a list of points, and of dense stretches by 16-byte vectors under a bit mask. Elements
// are moved as bits, of 2, 4 or 8 bytes.
#pragma once

#include <algorithm>

#include "cuda/parts/map.cuh"

namespace magnet::cuda {

constexpr int kReplaceThreads = 256;  // of every block that replaces
constexpr int kReplaceChunk = 128;    // points of a block along a list in global memory

template <class T>
struct ReplaceMaps {
  View<const T> from;
  View<T> to;
  bool pixelwise;  // both hold a pixel's classes side by side
  bool vectors;    // both hold an image's pixels side by side in each plane, and their 16-byte vectors are aligned
};

// --- the host side

// Both maps as they are best walked: images as one row where possible, classes that lie side by side as fewer elements
// of more bytes.
struct ReplaceJob {
  Map from, to;
  int64_t item;
  bool pixelwise, vectors;

  ReplaceJob(const Map& source, const Map& target) : from(source), to(target), item(source.item()) {
    const bool flat = from.one_row() && to.one_row();
    if (flat) {
      from = as_one_row(from);
      to = as_one_row(to);
    }
    pixelwise = from.pixelwise() && to.pixelwise() && from.c > 1 && from.c < (1 << 20);
    vectors = !pixelwise && flat && from.w * item % 16 == 0 && has_vectors(from) && has_vectors(to);
    while (pixelwise && item < 8 && widens(from) && widens(to)) {
      for (Map* map : {&from, &to}) {
        map->c /= 2;
        map->sn /= 2;
        map->sh /= 2;
        map->sw /= 2;
      }
      item *= 2;
    }
  }

  template <class T>
  ReplaceMaps<T> maps() const {
    return {view_of<const T>(from), view_of<T>(to), pixelwise, vectors};
  }

 private:
  bool whole(const Map& map, int64_t stride, int64_t size, int64_t bytes) const {
    return map.n * map.c * map.h * map.w == 0 || size == 1 || stride * item % bytes == 0;
  }
  bool aligned(const Map& map, int64_t bytes) const { return reinterpret_cast<uintptr_t>(map.data) % bytes == 0; }
  bool has_vectors(const Map& map) const {
    return (map.sw == 1 || map.w == 1) && aligned(map, 16) && whole(map, map.sc, map.c, 16) &&
           whole(map, map.sn, map.n, 16);
  }
  bool widens(const Map& map) const {
    return map.c % 2 == 0 && aligned(map, 2 * item) && whole(map, map.sn, map.n, 2 * item) &&
           whole(map, map.sh, map.h, 2 * item) && whole(map, map.sw, map.w, 2 * item);
  }
};

// --- kernels

// Where a pixel lies in its image, in elements.
struct PixelOffset {
  int64_t from, to;
};

template <class T>
MAGNET_DEVICE PixelOffset offset_of(const ReplaceMaps<T>& maps, uint32_t point) {
  const uint32_t w = static_cast<uint32_t>(maps.from.w);
  const int64_t y = maps.from.h == 1 ? 0 : point / w;
  const int64_t x = maps.from.h == 1 ? point : point % w;
  return {y * maps.from.sh + x * maps.from.sw, y * maps.to.sh + x * maps.to.sw};
}

template <bool kRepeats, class T>
MAGNET_DEVICE void put_element(const Global<T>& to, T value) {
  if constexpr (kRepeats) {
    store_relaxed(to, value);
  } else {
    *to = value;
  }
}

// All threads of a block replace `count` pixels of an image: point_at(i) is the flat index of the i-th, negative for
// none. Lanes go along the points of a plane, each takes some planes of one. kRepeats: a point may come again, so that
// two threads write the same.
template <bool kRepeats, class T, class PointAt>
MAGNET_DEVICE void replace_by_plane(const ReplaceMaps<T>& maps, int64_t image, uint32_t count,
                                    const PointAt& point_at) {
  constexpr uint32_t kBatch = sizeof(T) == 8 ? 5 : 10;  // loads in flight of a thread
  const uint32_t c = static_cast<uint32_t>(maps.from.c), groups = (c + kBatch - 1) / kBatch;
  for (uint32_t group = threadIdx.x / count, i = threadIdx.x % count; group < groups;) {
    const int64_t point = point_at(i);
    if (point >= 0) {
      const PixelOffset at = offset_of(maps, static_cast<uint32_t>(point));
      const uint32_t plane = group * kBatch;
      Global<const T> from = maps.from.data + (image * maps.from.sn + at.from + plane * maps.from.sc);
      Global<T> to = maps.to.data + (image * maps.to.sn + at.to + plane * maps.to.sc);
      T value[kBatch] = {};  // registers are for these: addresses are made one from the other
#pragma unroll
      for (uint32_t p = 0; p < kBatch; ++p) {
        if (plane + p < c) value[p] = *from;
        from = opaque(from + maps.from.sc);
      }
#pragma unroll
      for (uint32_t p = 0; p < kBatch; ++p) {
        if (plane + p < c) put_element<kRepeats>(to, value[p]);
        to = opaque(to + maps.to.sc);
      }
    }
    for (i += kReplaceThreads; i >= count && group < groups; i -= count) ++group;
  }
}

// The same with lanes along the classes of pixels.
template <bool kRepeats, class T, class PointAt>
MAGNET_DEVICE void replace_by_pixel(const ReplaceMaps<T>& maps, int64_t image, uint32_t count,
                                    const PointAt& point_at) {
  constexpr int kBatch = 4;
  const uint32_t c = static_cast<uint32_t>(maps.from.c), all = count * c;  // below 2^32: see ReplaceJob and kListTile
  const Global<const T> from = maps.from.data + image * maps.from.sn;
  const Global<T> to = maps.to.data + image * maps.to.sn;
  for (uint32_t begin = 0; begin < all; begin += kBatch * kReplaceThreads) {
    T value[kBatch] = {};
    int64_t target[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const uint32_t item = begin + i * kReplaceThreads + threadIdx.x;
      target[i] = -1;
      if (item >= all) continue;
      const int64_t point = point_at(item / c);
      if (point < 0) continue;
      const PixelOffset at = offset_of(maps, static_cast<uint32_t>(point));
      value[i] = from[at.from + item % c];
      target[i] = at.to + item % c;
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (target[i] >= 0) put_element<kRepeats>(to + target[i], value[i]);
    }
  }
}

template <bool kRepeats, class T, class PointAt>
MAGNET_DEVICE void replace_listed(const ReplaceMaps<T>& maps, int64_t image, uint32_t count, const PointAt& point_at) {
  if (maps.pixelwise) {
    replace_by_pixel<kRepeats>(maps, image, count, point_at);
  } else {
    replace_by_plane<kRepeats>(maps, image, count, point_at);
  }
}

// All threads of a block replace those of the `count` pixels from `first` on (a multiple of 8) whose bit is set:
// bits[i], bit j: pixel first + 4 i + j. For maps with vectors.
template <class T>
MAGNET_DEVICE void replace_dense(const ReplaceMaps<T>& maps, int64_t image, int64_t first, uint32_t count,
                                 Shared<const uint8_t> bits) {
  constexpr int kWidth = 16 / sizeof(T), kPlanes = 3;
  constexpr uint32_t kAll = (1u << kWidth) - 1;
  const uint32_t c = static_cast<uint32_t>(maps.from.c);
  for (uint32_t pixel = threadIdx.x * kWidth; pixel < count; pixel += kReplaceThreads * kWidth) {
    uint32_t chosen = static_cast<uint32_t>(bits[pixel / 4]) >> pixel % 4;
    if constexpr (kWidth == 8) chosen |= static_cast<uint32_t>(bits[pixel / 4 + 1]) << 4;
    chosen &= kAll;
    if (chosen == 0) continue;
    Global<const T> from = maps.from.data + (image * maps.from.sn + first + pixel);
    Global<T> to = maps.to.data + (image * maps.to.sn + first + pixel);
#pragma unroll 1
    for (uint32_t plane = 0; plane < c; plane += kPlanes) {
      // Where only some are chosen the others are written again as they are: one access instead of one each.
      Pack<T, kWidth> value[kPlanes] = {}, old[kPlanes] = {};
      Global<const T> present = to;
#pragma unroll
      for (uint32_t i = 0; i < kPlanes; ++i) {
        if (plane + i < c) {
          value[i] = load_once<kWidth>(from);
          if (chosen != kAll) old[i] = load<kWidth>(present);
        }
        from = opaque(from + maps.from.sc);
        present = opaque(present + maps.to.sc);
      }
#pragma unroll
      for (uint32_t i = 0; i < kPlanes; ++i) {
        if (plane + i < c) {
#pragma unroll
          for (int e = 0; e < kWidth; ++e) {
            if ((chosen >> e & 1) == 0) value[i].value[e] = old[i].value[e];
          }
          store<kWidth>(to, value[i]);
        }
        to = opaque(to + maps.to.sc);
      }
    }
  }
}

struct PointView {
  Global<const int64_t> data;
  int64_t k, sn, sk;
};

// A block an image and kReplaceChunk points.
template <class T>
MAGNET_KERNEL(kReplaceThreads, 64)
void replace_points(ReplaceMaps<T> maps, PointView points, uint32_t chunks) {
  wait_for_earlier_kernels();
  const int64_t image = blockIdx.x / chunks, begin = static_cast<int64_t>(blockIdx.x % chunks) * kReplaceChunk;
  const int64_t pixels = maps.from.h * maps.from.w, left = points.k - begin;
  const Global<const int64_t> list = points.data + (image * points.sn + begin * points.sk);
  const uint32_t count = static_cast<uint32_t>(left < kReplaceChunk ? left : kReplaceChunk);
  replace_listed<true>(maps, image, count, [&](uint32_t i) {
    const int64_t point = list[i * points.sk];
    return point < pixels ? point : -1;
  });
}

}  // namespace magnet::cuda
