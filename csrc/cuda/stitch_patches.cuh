// Patches resized to their boxes and laid into a map. Each pixel asks which patches lie on it, in their order, so that
// sums are always made in the same one.
//
// Planes: a thread takes some neighbouring pixels of a row, asks once which patches lie on them, and goes through the
// planes, several loads of each patch on their way at once. Where a patch is resized, ends among those pixels or is not
// aligned with them, a warp takes their row pixel by pixel instead.
#pragma once

#include "cuda/parts/boxes.cuh"
#include "cuda/parts/map.cuh"
#include "cuda/parts/touch_list.cuh"
#include "cuda/stitch_patches.h"

namespace magnet::cuda {

constexpr int kStitchThreads = 256;

// Divides sums of `count` patches. Where that is a power of two the product with its inverse has the same bits.
template <class A>
struct MeanOf {
  A divisor, inverse;
  bool exact;

  MAGNET_DEVICE explicit MeanOf(int count)
      : divisor(static_cast<A>(count)),
        inverse(count == 0 ? A(0) : A(1) / divisor),
        exact((count & (count - 1)) == 0) {}
  // A sum of nothing gives +0: -0 * 0 + 0.
  template <int kN>
  MAGNET_DEVICE void divide(A (&sum)[kN]) const {
    if (exact) {
      const A nothing = divisor == A(0) ? A(0) : kNothing<A>;
#pragma unroll
      for (int i = 0; i < kN; ++i) sum[i] = sum[i] * inverse + nothing;
    } else {
#pragma unroll
      for (int i = 0; i < kN; ++i) sum[i] /= divisor;
    }
  }
};

// --- planes

// Neighbours that a thread takes at once: 16 bytes, or 8 of 16-bit elements. Doubles go one by one.
template <class T>
constexpr int kStitchPixels = sizeof(T) == 8 ? 1 : 4;
// Planes whose loads are on their way at once: of neighbours under one patch and under several, and of single pixels.
constexpr int kStitchPlanesAlone = 8, kStitchPlanes = 4;
template <class T>
constexpr int kStitchPlanesOfPixel = sizeof(T) == 8   ? 4
                                     : sizeof(T) == 4 ? 8
                                                      : 6;
constexpr int kStitchRows = kStitchThreads / 32;  // of a tile, a warp each
template <class T>
constexpr int kStitchColumns = 32 * kStitchPixels<T>;

struct StitchGrid {
  uint32_t tiles_x, tiles_y;
  int32_t groups, planes;  // a block makes one of the groups of planes
  bool rows;               // neighbours may be accessed at once
};

template <class T>
struct StitchJob {
  View<const T> patches;
  Rects boxes;
  View<T> out;
  Global<bool> covered;
  StitchGrid grid;
};

// Where a warp works: a row of pixels of an image, and which planes of it.
struct StitchPlace {
  int32_t image, y, begin, end;
};

// The patches that touch some neighbouring pixels.
struct RowPatches {
  uint32_t listed = 0;  // bit i: the i-th of the list
  bool whole = true;    // all of them lie on all of these pixels, are of their boxes' size and aligned

  template <class T, class List>
  MAGNET_DEVICE RowPatches(const View<const T>& patches, const Rects& boxes, const List& list, const Rect& row) {
    const int width = row.x1 - row.x0;
#pragma unroll 1
    for (int i = 0; i < list.count(); ++i) {
      const Rect box = boxes.at(list.at(i));
      if (!box.touches(row)) continue;
      listed |= 1u << i;
      whole = whole && box.x0 <= row.x0 && box.x1 >= row.x1 && box.x1 - box.x0 == patches.w &&
              box.y1 - box.y0 == patches.h && (row.x0 - box.x0) % width == 0;
    }
  }
};

// Planes of neighbouring pixels on which one patch lies.
template <class T, int kN>
MAGNET_DEVICE void copy_row(Global<const T> from, int64_t from_stride, Global<T> to, int64_t to_stride,
                            int32_t planes) {
  constexpr int kMost = kStitchPlanesAlone;
#pragma unroll 1
  for (int32_t c = 0; c < planes; c += kMost) {
    Pack<T, kN> values[kMost];
#pragma unroll
    for (int k = 0; k < kMost; ++k) {
      if (c + k < planes) values[k] = load_once<kN>(from);
      from = opaque(from + from_stride);
    }
#pragma unroll
    for (int k = 0; k < kMost; ++k) {
      if (c + k < planes) store_once<kN>(to, values[k]);
      to = opaque(to + to_stride);
    }
  }
}

// The mean of several.
template <class T, int kN, class From>
MAGNET_DEVICE void average_row(uint32_t listed, const From& from, int64_t from_stride, Global<T> to, int64_t to_stride,
                               int32_t planes) {
  using A = Wide<T>;
  constexpr int kMost = kStitchPlanes;
  const MeanOf<A> mean(__popc(listed));
#pragma unroll 1
  for (int32_t c = 0; c < planes; c += kMost) {
    A sum[kMost][kN];
#pragma unroll
    for (int k = 0; k < kMost; ++k) {
#pragma unroll
      for (int i = 0; i < kN; ++i) sum[k][i] = kNothing<A>;
    }
#pragma unroll 1
    for (uint32_t rest = listed; rest != 0; rest &= rest - 1) {
      Global<const T> at = opaque(from(rest) + c * from_stride);
      Pack<T, kN> values[kMost] = {};
#pragma unroll
      for (int k = 0; k < kMost; ++k) {
        if (c + k < planes) values[k] = load_once<kN>(at);
        at = opaque(at + from_stride);
      }
#pragma unroll
      for (int k = 0; k < kMost; ++k) {
#pragma unroll
        for (int i = 0; i < kN; ++i) sum[k][i] += widen(values[k].value[i]);
      }
    }
#pragma unroll
    for (int k = 0; k < kMost; ++k) {
      mean.divide(sum[k]);
      Pack<T, kN> result;
#pragma unroll
      for (int i = 0; i < kN; ++i) result.value[i] = narrow<T>(sum[k][i]);
      if (c + k < planes) store_once<kN>(to, result);
      to = opaque(to + to_stride);
    }
  }
}

// false: nothing is done, the pixels from x on are to be made one by one.
template <class T, class List>
MAGNET_DEVICE bool stitch_row(const StitchJob<T>& job, const List& list, const StitchPlace& at, int32_t x) {
  constexpr int kN = kStitchPixels<T>;
  if (list.count() > 32) return false;
  const View<const T>& patches = job.patches;
  const RowPatches found(patches, job.boxes, list, Rect{at.image, x, at.y, x + kN, at.y + 1});
  if (!found.whole) return false;
  const int64_t pixel = at.y * patches.sh + x * patches.sw + at.begin * patches.sc;
  const auto from = [&](uint32_t listed) {  // the first of those
    const int p = list.at(__ffs(static_cast<int>(listed)) - 1);
    const Rect box = job.boxes.at(p);
    return patches.data + (pixel + patches.offset(p, -box.y0, -box.x0));
  };
  const Global<T> to = opaque(job.out.data + job.out.offset(at.image, at.y, x) + at.begin * job.out.sc);
  const int count = __popc(found.listed);
  if (count == 1) {
    copy_row<T, kN>(opaque(from(found.listed)), patches.sc, to, job.out.sc, at.end - at.begin);
  } else {
    average_row<T, kN>(found.listed, from, patches.sc, to, job.out.sc, at.end - at.begin);
  }
  if (at.begin == 0) {
    Pack<bool, kN> covered;
#pragma unroll
    for (int i = 0; i < kN; ++i) covered.value[i] = count > 0;
    store<kN>(job.covered + (at.image * job.out.h + at.y) * job.out.w + x, covered);
  }
  return true;
}

// Adds consecutive planes, up to kMost of `planes`, of a patch that is not resized.
template <int kMost, class T, class A>
MAGNET_DEVICE void add_pixel(Global<const T> from, int64_t stride, int32_t planes, A (&sum)[kMost]) {
  T values[kMost] = {};
#pragma unroll
  for (int k = 0; k < kMost; ++k) {
    if (k < planes) values[k] = from[0];
    from = opaque(from + stride);
  }
#pragma unroll
  for (int k = 0; k < kMost; ++k) sum[k] += widen(values[k]);
}

// The same of one that is: rows first, then columns, as on the CPU.
template <int kMost, class T, class A>
MAGNET_DEVICE void add_resized(const View<const T>& patches, Global<const T> from, const BilinearTap<A>& row,
                               const BilinearTap<A>& column, int32_t planes, A (&sum)[kMost]) {
  constexpr int kAtOnce = sizeof(T) == 4 ? 4 : 2;  // planes, of four loads each
  static_assert(kMost % kAtOnce == 0);
  const int64_t down = (row.high - row.low) * patches.sh, right = (column.high - column.low) * patches.sw;
  from = from + row.low * patches.sh + column.low * patches.sw;
#pragma unroll
  for (int start = 0; start < kMost; start += kAtOnce) {
    T values[kAtOnce][4] = {};
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      from = opaque(from);
      if (start + k < planes) {
        values[k][0] = from[0];
        values[k][1] = from[down];
        values[k][2] = from[right];
        values[k][3] = from[down + right];
      }
      from = from + patches.sc;
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const A left = blend(widen(values[k][0]), widen(values[k][1]), row.weight);
      sum[start + k] += blend(left, blend(widen(values[k][2]), widen(values[k][3]), row.weight), column.weight);
    }
  }
}

template <class T, class List>
MAGNET_DEVICE void stitch_pixel(const StitchJob<T>& job, const List& list, const StitchPlace& at, int32_t x) {
  using A = Wide<T>;
  constexpr int kMost = kStitchPlanesOfPixel<T>;
  const View<const T>& patches = job.patches;
#pragma unroll 1
  for (int32_t c = at.begin; c < at.end; c += kMost) {
    A sum[kMost];
#pragma unroll
    for (int k = 0; k < kMost; ++k) sum[k] = kNothing<A>;
    int count = 0;
#pragma unroll 1
    for (int i = 0; i < list.count(); ++i) {
      const int p = list.at(i);
      const Rect box = job.boxes.at(p);
      if (box.image != at.image || !box.contains(at.y, x)) continue;
      ++count;
      const Global<const T> from = patches.data + p * patches.sn + c * patches.sc;
      if (box.x1 - box.x0 == patches.w && box.y1 - box.y0 == patches.h) {
        const int64_t pixel = (at.y - box.y0) * patches.sh + (x - box.x0) * patches.sw;
        add_pixel<kMost, T>(opaque(from + pixel), patches.sc, at.end - c, sum);
      } else {
        add_resized<kMost, T>(patches, from, bilinear_tap<A>(at.y - box.y0, patches.h, box.y1 - box.y0),
                              bilinear_tap<A>(x - box.x0, patches.w, box.x1 - box.x0), at.end - c, sum);
      }
    }
    MeanOf<A>(count).divide(sum);
    Global<T> to = opaque(job.out.data + job.out.offset(at.image, at.y, x) + c * job.out.sc);
#pragma unroll
    for (int k = 0; k < kMost; ++k) {
      if (c + k < at.end) to[0] = narrow<T>(sum[k]);
      to = opaque(to + job.out.sc);
    }
    if (c == 0) job.covered[(at.image * job.out.h + at.y) * job.out.w + x] = count > 0;
  }
}

// A tile a block, a row of it a warp.
template <class T>
MAGNET_KERNEL(kStitchThreads, 64, 4)
void stitch_planes(StitchJob<T> job) {
  constexpr int kN = kStitchPixels<T>;
  MAGNET_SHARED(int32_t, touching, kStitchThreads);
  MAGNET_SHARED(int32_t, touching_of_warps, kStitchThreads / 32);
  const StitchGrid& grid = job.grid;
  uint32_t tile = blockIdx.x;
  const int32_t left = static_cast<int32_t>(tile % grid.tiles_x) * kStitchColumns<T>;
  tile /= grid.tiles_x;
  const int32_t top = static_cast<int32_t>(tile % grid.tiles_y) * kStitchRows;
  tile /= grid.tiles_y;
  const int32_t group = static_cast<int32_t>(tile) % grid.groups, image = static_cast<int32_t>(tile) / grid.groups;
  const Rect where{image, left, top, left + kStitchColumns<T>, top + kStitchRows};
  const TouchList<kStitchThreads> list(job.boxes, where, touching, touching_of_warps);

  const int lane = threadIdx.x % 32;
  const int32_t width = static_cast<int32_t>(job.out.w), begin = group * grid.planes;
  const int32_t end = min(begin + grid.planes, static_cast<int32_t>(job.out.c));
  const StitchPlace at{image, top + static_cast<int32_t>(threadIdx.x) / 32, begin, end};
  if (at.y >= job.out.h) return;
  uint32_t done = 0;  // bit i: the pixels kN i to kN i + kN - 1 of the warp
  if constexpr (kN > 1) {
    if (grid.rows) {
      const int32_t x = left + lane * kN;
      done = __ballot_sync(0xffffffffu, x < width && stitch_row(job, list, at, x));
    }
  }
#pragma unroll 1
  for (int i = lane; i < kStitchColumns<T>; i += 32) {
    if (done >> i / kN & 1 || left + i >= width) continue;
    stitch_pixel(job, list, at, left + i);
  }
}

// --- pixels of consecutive classes

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

constexpr int kStitchPixelRows = 4;  // rows of a thread
constexpr int kStitchPixelTileRows = kStitchThreads / 32 * kStitchPixelRows;

// Rows of less than 2^31 elements: a block makes 32 consecutive elements of 32 rows of an image.
template <class T>
MAGNET_KERNEL(kStitchThreads, 104, 2)
void stitch_pixels(View<const T> patches, Rects boxes, View<T> out, Global<bool> covered, uint32_t tiles_x,
                   uint32_t tiles_y) {
  using A = Wide<T>;
  constexpr int kRows = kStitchPixelRows;
  MAGNET_SHARED(int32_t, touching, kStitchThreads);
  MAGNET_SHARED(int32_t, touching_of_warps, kStitchThreads / 32);

  uint32_t tile = blockIdx.x;
  const uint32_t begin = tile % tiles_x * 32, classes = static_cast<uint32_t>(out.c);
  tile /= tiles_x;
  const int32_t top = static_cast<int32_t>(tile % tiles_y) * kStitchPixelTileRows;
  const int32_t image = static_cast<int32_t>(tile / tiles_y);
  const uint32_t c = (begin + threadIdx.x % 32) % classes;
  const Rect where{image, static_cast<int32_t>(begin / classes), top, static_cast<int32_t>((begin + 31) / classes) + 1,
                   top + kStitchPixelTileRows};
  const int32_t column = static_cast<int32_t>((begin + threadIdx.x % 32) / classes);
  const int32_t row = top + static_cast<int32_t>(threadIdx.x) / 32 * kRows;

  A sum[kRows];
  int count[kRows];
#pragma unroll
  for (int j = 0; j < kRows; ++j) {
    count[j] = 0;
    sum[j] = kNothing<A>;
  }
  const TouchList<kStitchThreads> list(boxes, where, touching, touching_of_warps);
  for (int i = 0; i < list.count(); ++i) {
    const int p = list.at(i);
    const Rect box = boxes.at(p);
    if (!box.touches(where)) continue;
    const bool inside = column >= box.x0 && column < box.x1;  // outside, its first column is read in vain
    const bool same_width = box.x1 - box.x0 == patches.w;
    const PatchTap<A> tap_x(inside ? column - box.x0 : 0, patches.w, box.x1 - box.x0, patches.sw);
    const Global<const T> patch = patches.data + (p * patches.sn + c * patches.sc);
#pragma unroll
    for (int j = 0; j < kRows; ++j) {
      if (row + j < box.y0 || row + j >= box.y1) continue;  // the same for the whole warp
      const PatchTap<A> tap_y(row + j - box.y0, patches.h, box.y1 - box.y0, patches.sh);
      const A value = resized<A>(tap_y, tap_x, same_width, [&](int64_t at) { return widen(patch[at]); });
      if (inside) sum[j] += value;
      count[j] += inside;
    }
  }

  if (column >= out.w) return;
#pragma unroll
  for (int j = 0; j < kRows; ++j) {
    if (row + j >= out.h) continue;
    A value[1] = {sum[j]};
    MeanOf<A>(count[j]).divide(value);
    out.data[out.offset(image, row + j, column) + c * out.sc] = narrow<T>(value[0]);
    if (c == 0) covered[(image * out.h + row + j) * out.w + column] = count[j] > 0;
  }
}

}  // namespace magnet::cuda
