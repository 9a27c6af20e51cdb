// Sources of margins() that stitch patches as they load: the probabilities of one pixel of the stitched map.
#pragma once

#include "cuda/parts/boxes.cuh"
#include "cuda/parts/margin.cuh"

namespace magnet::cuda {

// What makes logits probabilities, rounded to their type: e^(x - highest) * scale.
template <class T, bool kLogits>
struct Softmax {
  using A = Wide<T>;
  A highest, scale;

  MAGNET_DEVICE A operator()(T x) const {
    if constexpr (!kLogits) {
      return widen(x);
    } else if constexpr (std::is_same_v<T, double>) {
      return exp(x - highest) * scale;
    } else {
      return widen(narrow<T>(exp2_fast((widen(x) - highest) * 1.44269504f) * scale));
    }
  }
};

template <class T, bool kLogits>
struct PatchViews {
  View<const T> map;
  Rects boxes;
  Global<const Wide<T>> sums;  // (P, h, w, 2): `highest` and `scale` of every pixel

  MAGNET_DEVICE Softmax<T, kLogits> softmax(int64_t patch, int64_t y, int64_t x) const {
    if constexpr (kLogits) {
      const Pack<Wide<T>, 2> pair = load<2>(sums + ((patch * map.h + y) * map.w + x) * 2);
      return {pair.value[0], pair.value[1]};
    } else {
      return {};
    }
  }
  // Of kN neighbours, an even number; see PatchPoint.
  template <int kN>
  MAGNET_DEVICE void softmax(int64_t patch, int64_t y, int64_t x, Softmax<T, kLogits> (&result)[kN]) const {
    if constexpr (kLogits) {
#pragma unroll
      for (int i = 0; i < kN; i += 2) {
        const Pack<Wide<T>, 4> pairs = load<4>(sums + ((patch * map.h + y) * map.w + x + i) * 2);
        result[i] = {pairs.value[0], pairs.value[1]};
        result[i + 1] = {pairs.value[2], pairs.value[3]};
      }
    }
  }
};

// A pixel of a patch that is not resized there, or kN neighbouring ones of a row of it: those begin at a multiple of kN
// of a patch map with planes_aligned(map, kN) and, of logits, rows of a multiple of kN.
template <class T, bool kLogits, int kN = 1>
struct PatchPoint {
  using Element = T;
  static constexpr int kPixels = kN;
  Global<const T> pixel;
  int64_t stride;
  Softmax<T, kLogits> softmax[kN];

  MAGNET_DEVICE PatchPoint(const PatchViews<T, kLogits>& patches, int64_t patch, int64_t y, int64_t x)
      : pixel(opaque(patches.map.data + patches.map.offset(patch, y, x))), stride(patches.map.sc) {
    if constexpr (kN == 1) {
      softmax[0] = patches.softmax(patch, y, x);
    } else {
      patches.softmax(patch, y, x, softmax);
    }
  }
  MAGNET_DEVICE void skip(int64_t classes) { pixel = opaque(pixel + classes * stride); }
  // What next() loads, and what it makes of it.
  MAGNET_DEVICE Pack<T, kN> fetch() {
    const Pack<T, kN> x = load<kN>(pixel);
    pixel = opaque(pixel + stride);
    return x;
  }
  MAGNET_DEVICE Pack<T, kN> finish(const Pack<T, kN>& x) const {
    Pack<T, kN> result;
#pragma unroll
    for (int i = 0; i < kN; ++i) result.value[i] = narrow<T>(softmax[i](x.value[i]));
    return result;
  }
  MAGNET_DEVICE Pack<T, kN> next() { return finish(fetch()); }
};

// A pixel of a patch that is resized: rows first, then columns, as on the CPU.
template <class T, bool kLogits>
struct PatchPixel {
  using A = Wide<T>;
  using Element = T;
  static constexpr int kPixels = 1;
  Global<const T> pixel;  // upper left of the four
  int64_t stride, right, down;
  A row, column;  // weights of the second
  Softmax<T, kLogits> softmax[4];

  MAGNET_DEVICE PatchPixel(const PatchViews<T, kLogits>& patches, int64_t patch, const BilinearTap<A>& v,
                           const BilinearTap<A>& u)
      : stride(patches.map.sc), row(v.weight), column(u.weight) {
    pixel = opaque(patches.map.data + patches.map.offset(patch, v.low, u.low));
    down = (v.high - v.low) * patches.map.sh;
    right = (u.high - u.low) * patches.map.sw;
    softmax[0] = patches.softmax(patch, v.low, u.low);
    softmax[1] = patches.softmax(patch, v.high, u.low);
    softmax[2] = patches.softmax(patch, v.low, u.high);
    softmax[3] = patches.softmax(patch, v.high, u.high);
  }
  MAGNET_DEVICE void skip(int64_t classes) { pixel = opaque(pixel + classes * stride); }
  struct Corners {
    T x[4];
  };
  MAGNET_DEVICE Corners fetch() {
    const Corners corners = {{pixel[0], pixel[down], pixel[right], pixel[down + right]}};
    pixel = opaque(pixel + stride);
    return corners;
  }
  MAGNET_DEVICE A value(const Corners& at) const {
    const A a = softmax[0](at.x[0]), b = softmax[1](at.x[1]), c = softmax[2](at.x[2]), d = softmax[3](at.x[3]);
    return blend(blend(a, b, row), blend(c, d, row), column);
  }
  MAGNET_DEVICE Pack<T, 1> finish(const Corners& at) const {
    Pack<T, 1> result;
    result.value[0] = narrow<T>(value(at));
    return result;
  }
  MAGNET_DEVICE Pack<T, 1> next() { return finish(fetch()); }
};

// Where a pixel of the map lies in a patch.
template <class T, bool kLogits>
struct PatchPlace {
  BilinearTap<Wide<T>> row, column;

  MAGNET_DEVICE PatchPlace(const PatchViews<T, kLogits>& patches, const Rect& box, int32_t y, int32_t x)
      : row(bilinear_tap<Wide<T>>(y - box.y0, patches.map.h, box.y1 - box.y0)),
        column(bilinear_tap<Wide<T>>(x - box.x0, patches.map.w, box.x1 - box.x0)) {}
};

// A pixel that several patches lie on, their mean: found again for every class, which is slow but rare.
template <class T, bool kLogits, class List>
struct PatchMean {
  using A = Wide<T>;
  using Element = T;
  static constexpr int kPixels = 1;
  const PatchViews<T, kLogits>& patches;
  const List& list;
  int32_t image, y, x;
  int64_t plane = 0;

  MAGNET_DEVICE PatchMean(const PatchViews<T, kLogits>& patches, const List& list, int32_t image, int32_t y, int32_t x)
      : patches(patches), list(list), image(image), y(y), x(x) {}
  MAGNET_DEVICE void skip(int64_t classes) { plane += classes; }
  MAGNET_DEVICE Pack<T, 1> next() {
    A sum = kNothing<A>;
    int count = 0;
#pragma unroll 1
    for (int i = 0; i < list.count(); ++i) {
      const int p = list.at(i);
      const Rect box = patches.boxes.at(p);
      if (box.image != image || !box.contains(y, x)) continue;
      const PatchPlace<T, kLogits> place(patches, box, y, x);
      PatchPixel<T, kLogits> pixel(patches, p, place.row, place.column);
      pixel.skip(plane);
      sum += pixel.value(pixel.fetch());
      ++count;
    }
    ++plane;
    Pack<T, 1> result;
    result.value[0] = narrow<T>(sum / static_cast<A>(count));
    return result;
  }
  MAGNET_DEVICE Pack<T, 1> fetch() { return next(); }
  MAGNET_DEVICE Pack<T, 1> finish(const Pack<T, 1>& x) const { return x; }
};

struct AllBoxes {
  int boxes;

  MAGNET_DEVICE int count() const { return boxes; }
  MAGNET_DEVICE int at(int i) const { return i; }
};

// What lies on some neighbouring pixels of a row.
struct RowCover {
  bool empty;     // no patch touches any of them
  bool alone;     // one patch lies on all of them, no other touches any
  int32_t patch;  // that one
  Rect box;

  template <class List>
  MAGNET_DEVICE RowCover(const Rects& boxes, const List& list, const Rect& row) : patch(0), box{0, 0, 0, 1, 1} {
    int count = 0;
    for (int i = 0; i < list.count(); ++i) {
      const int p = list.at(i);
      const Rect other = boxes.at(p);
      const bool touches = other.touches(row);
      box = touches ? other : box;
      patch = touches ? p : patch;
      count += touches;
    }
    empty = count == 0;
    alone = count == 1 && box.x0 <= row.x0 && box.x1 >= row.x1;
  }
};

// The patches that lie on a pixel: how many, and the last of them.
struct Covering {
  int count = 0, patch = 0;
  Rect box{0, 0, 0, 1, 1};

  MAGNET_DEVICE void see(int p, const Rect& other, int32_t image, int32_t y, int32_t x) {
    const bool covers = other.image == image && other.contains(y, x);
    box = covers ? other : box;
    patch = covers ? p : patch;
    count += covers;
  }
  template <class List>
  MAGNET_DEVICE Covering(const Rects& boxes, const List& list, int32_t image, int32_t y, int32_t x) {
    for (int i = 0; i < list.count(); ++i) {
      const int p = list.at(i);
      see(p, boxes.at(p), image, y, x);
    }
  }
  // Where they lie is asked for once, not for each, so that several boxes are on their way at once.
  MAGNET_DEVICE Covering(const Rects& boxes, const AllBoxes&, int32_t image, int32_t y, int32_t x) {
    if (boxes.count <= kFewRects) {
#pragma unroll 4
      for (int i = 0; i < boxes.count; ++i) see(i, boxes.few[i], image, y, x);
    } else {
#pragma unroll 4
      for (int i = 0; i < boxes.count; ++i) see(i, boxes.many[i], image, y, x);
    }
  }
};

// Calls take(source) with what gives the pixel's classes; false, and no call, where no patch covers it.
template <class T, bool kLogits, class List, class Take>
MAGNET_DEVICE bool visit_patches(const PatchViews<T, kLogits>& patches, const List& list, int32_t image, int32_t y,
                                 int32_t x, const Take& take) {
  const Covering found(patches.boxes, list, image, y, x);
  if (found.count == 0) return false;
  if (found.count > 1) {
    PatchMean<T, kLogits, List> source(patches, list, image, y, x);
    take(source);
    return true;
  }
  const PatchPlace<T, kLogits> place(patches, found.box, y, x);
  if (place.row.weight == Wide<T>(0) && place.column.weight == Wide<T>(0)) {
    PatchPoint<T, kLogits> source(patches, found.patch, place.row.low, place.column.low);
    take(source);
  } else {
    PatchPixel<T, kLogits> source(patches, found.patch, place.row, place.column);
    take(source);
  }
  return true;
}

}  // namespace magnet::cuda
