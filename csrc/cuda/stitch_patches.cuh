// Patches resized to their boxes and laid into a map. Each pixel asks which patches lie on it, in their order, so that
// sums are always made in the same one.
#pragma once

#include "cuda/parts/boxes.cuh"
#include "cuda/parts/map.cuh"
#include "cuda/parts/touch_list.cuh"
#include "cuda/stitch_patches.h"

namespace magnet::cuda {

// The two elements that an element of a resized patch lies between, along one axis: offsets and the weight of the
// second.
template <class A>
struct PatchTap {
  int64_t low, high;
  A weight;

  MAGNET_DEVICE PatchTap(int32_t index, int64_t in_size, int64_t out_size, int64_t stride) {
    const BilinearTap<A> tap = bilinear_tap<A>(index, in_size, out_size);
    low = tap.low * stride;
    high = tap.high * stride;
    weight = tap.weight;
  }
};

// Rows first, as on the CPU. `at` gives the value at an offset.
template <class A, class At>
MAGNET_DEVICE A resized(const PatchTap<A>& row, const PatchTap<A>& column, bool same_width, const At& at) {
  A left = at(row.low + column.low);
  if (row.weight != A(0)) left = left * (A(1) - row.weight) + at(row.high + column.low) * row.weight;
  if (same_width) return left;  // no need to load more, the same for the whole block
  A right = at(row.low + column.high);
  if (row.weight != A(0)) right = right * (A(1) - row.weight) + at(row.high + column.high) * row.weight;
  return blend(left, right, column.weight);
}

constexpr int kStitchThreads = 256, kStitchRows = 4;  // rows of a thread
constexpr int kStitchTileRows = kStitchThreads / 32 * kStitchRows;

template <class T, bool kPixels>
constexpr int stitch_planes() {
  return kPixels ? 1 : sizeof(T) == 8 ? 2 : 4;
}

// kPixels: rows of less than 2^31 elements, pixels of consecutive classes, else planes. A block makes 32 consecutive
// elements of 32 rows of an image, of kPlanes planes where there are any.
template <class T, bool kPixels>
MAGNET_KERNEL(kStitchThreads, 104, 2)
void stitch(View<const T> patches, Rects boxes, View<T> out, Global<bool> covered, uint32_t tiles_x, uint32_t tiles_y) {
  using A = Wide<T>;
  constexpr int kPlanes = stitch_planes<T, kPixels>();
  MAGNET_SHARED(int32_t, touching, kStitchThreads);
  MAGNET_SHARED(int32_t, touching_of_warps, kStitchThreads / 32);

  uint32_t tile = blockIdx.x;
  const uint32_t begin = tile % tiles_x * 32;
  tile /= tiles_x;
  const int32_t top = static_cast<int32_t>(tile % tiles_y) * kStitchTileRows;
  tile /= tiles_y;
  uint32_t image = tile, c = 0, x = begin + threadIdx.x % 32, first = begin, last = begin + 31;
  if constexpr (kPixels) {
    const uint32_t classes = static_cast<uint32_t>(out.c);
    c = x % classes;
    x /= classes;
    first /= classes;
    last /= classes;
  } else {
    const uint32_t groups = static_cast<uint32_t>((out.c + kPlanes - 1) / kPlanes);
    image = tile / groups;
    c = tile % groups * kPlanes;
  }
  const Rect where{static_cast<int32_t>(image), static_cast<int32_t>(first), top, static_cast<int32_t>(last) + 1,
                   top + kStitchTileRows};
  const int32_t column = static_cast<int32_t>(x), row = top + static_cast<int32_t>(threadIdx.x) / 32 * kStitchRows;

  A sum[kStitchRows][kPlanes];
  int count[kStitchRows];
#pragma unroll
  for (int j = 0; j < kStitchRows; ++j) {
    count[j] = 0;
#pragma unroll
    for (int g = 0; g < kPlanes; ++g) sum[j][g] = A(0);
  }
  const TouchList<kStitchThreads> list(boxes, where, touching, touching_of_warps);
  for (int i = 0; i < list.count(); ++i) {
    const int p = list.at(i);
    const Rect box = boxes.at(p);
    if (!box.touches(where)) continue;
    const bool inside = column >= box.x0 && column < box.x1;  // outside, its first column is read in vain
    const bool same_width = box.x1 - box.x0 == patches.w;
    const PatchTap<A> tap_x(inside ? column - box.x0 : 0, patches.w, box.x1 - box.x0, patches.sw);
    const int64_t patch = p * patches.sn + c * patches.sc;
#pragma unroll
    for (int j = 0; j < kStitchRows; ++j) {
      if (row + j < box.y0 || row + j >= box.y1) continue;  // the same for the whole warp
      const PatchTap<A> tap_y(row + j - box.y0, patches.h, box.y1 - box.y0, patches.sh);
#pragma unroll
      for (int g = 0; g < kPlanes; ++g) {
        if (kPlanes > 1 && c + g >= patches.c) continue;
        const int64_t plane = patch + g * patches.sc;
        const A value =
            resized<A>(tap_y, tap_x, same_width, [&](int64_t at) { return widen(patches.data[plane + at]); });
        if (inside) sum[j][g] = count[j] ? sum[j][g] + value : value;
      }
      count[j] += inside;
    }
  }

  if (column >= out.w) return;
#pragma unroll
  for (int j = 0; j < kStitchRows; ++j) {
    if (row + j >= out.h) continue;
    const int64_t to = out.offset(image, row + j, column) + c * out.sc;
#pragma unroll
    for (int g = 0; g < kPlanes; ++g) {
      if (kPlanes > 1 && c + g >= out.c) continue;
      out.data[to + g * out.sc] = narrow<T>(count[j] > 1 ? sum[j][g] / static_cast<A>(count[j]) : sum[j][g]);
    }
    if (c == 0) covered[(image * out.h + row + j) * out.w + column] = count[j] > 0;
  }
}

}  // namespace magnet::cuda
