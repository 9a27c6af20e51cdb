// A source of margins() that upsamples bilinearly (align_corners=False) as it loads.
#pragma once

#include "common/bilinear.h"
#include "cuda/parts/margin.cuh"
#include "cuda/parts/wide.cuh"

namespace magnet::cuda {

// Pixel (y, x) of a map made `height` x `width`, in the map's type. The operations and their order are those of the CPU
// kernels: rows first, then columns, without fused steps.
template <class T>
struct Upsampled {
  using Element = T;
  static constexpr int kPixels = 1;

  Global<const T> pixel;  // upper left of the four
  int64_t stride, right, down;
  Wide<T> row, column;  // weights of the lower and the right ones

  MAGNET_DEVICE Upsampled(const View<const T>& map, int64_t image, int64_t y, int64_t x, int64_t height, int64_t width)
      : Upsampled(map, image, bilinear_tap<Wide<T>>(y, map.h, height), bilinear_tap<Wide<T>>(x, map.w, width)) {}
  MAGNET_DEVICE Upsampled(const View<const T>& map, int64_t image, const BilinearTap<Wide<T>>& v,
                          const BilinearTap<Wide<T>>& u)
      : pixel(opaque(map.data + map.offset(image, v.low, u.low))),
        stride(map.sc),
        right((u.high - u.low) * map.sw),
        down((v.high - v.low) * map.sh),
        row(v.weight),
        column(u.weight) {}

  MAGNET_DEVICE Pack<T, 1> next() {
    const Wide<T> left = blend(widen<T>(pixel[0]), widen<T>(pixel[down]), row);
    const Wide<T> end = blend(widen<T>(pixel[right]), widen<T>(pixel[down + right]), row);
    pixel = opaque(pixel + stride);
    return {{narrow<T>(blend(left, end, column))}};
  }
};

// --- to twice the size: a thread takes 2 x 2 pixels of the large map. Their columns are a pair that begins at an even
// one, so that two neighbours are stored at once and a warp's accesses have no gaps; their rows lie between the centres
// of two rows of the small map, so that two rows are enough.

// The square of this thread, of a grid of (h + 1) x w squares: those of the first and of the last row are half outside.
struct Square {
  bool exists;
  int64_t image, y, x;  // 2y, 2x: the lower left pixel
  bool upper, lower;    // which of its rows are inside

  MAGNET_DEVICE Square(const PixelGrid& grid, int threads) {
    const PixelPlace<1> place(grid, threads);
    exists = place.exists;
    image = place.image;
    y = place.y;
    x = place.x;
    upper = y > 0;
    lower = y + 1 < grid.rows;
  }
};

template <class T>
MAGNET_DEVICE Pack<T, 2> half_of(const Pack<T, 4>& square, int row) {
  return {{square.value[2 * row], square.value[2 * row + 1]}};
}

// The four pixels of a square, of the large map. kPairs: neighbours are loaded together, where planes_aligned(map, 2);
// else any strides.
template <class T, bool kPairs>
struct SquarePlanes {
  using Element = T;
  static constexpr int kPixels = 4;
  Global<const T> pixel;  // lower left
  int64_t stride, right, down;
  bool upper, lower;

  MAGNET_DEVICE SquarePlanes(const View<const T>& map, const Square& at)
      : pixel(opaque(map.data + map.offset(at.image, 2 * at.y, 2 * at.x))),
        stride(map.sc),
        right(map.sw),
        down(map.sh),
        upper(at.upper),
        lower(at.lower) {}
  MAGNET_DEVICE Pack<T, 2> row(Global<const T> at) const {
    if constexpr (kPairs) return load_once<2>(at);
    return {{at[0], at[right]}};
  }
  MAGNET_DEVICE Pack<T, 4> next() {
    Pack<T, 2> rows[2]{};
    if (upper) rows[0] = row(pixel - down);
    if (lower) rows[1] = row(pixel);
    pixel = opaque(pixel + stride);
    return {{rows[0].value[0], rows[0].value[1], rows[1].value[0], rows[1].value[1]}};
  }
};

// To the four pixels of a square, as far as they are inside; nowhere where the map's data is null.
template <class T>
struct CopySquare {
  Global<T> pixel;  // lower left
  int64_t stride, right, down;
  bool upper, lower, pairs;

  // pairs: neighbours are stored together, where planes_aligned(map, 2).
  MAGNET_DEVICE CopySquare(const View<T>& map, const Square& at, bool pairs)
      : CopySquare(map, at.image, at.y, at.x, at.upper, at.lower, pairs) {}
  MAGNET_DEVICE CopySquare(const View<T>& map, int64_t image, int64_t y, int64_t x, bool upper, bool lower, bool pairs)
      : pixel(map.data), stride(map.sc), right(map.sw), down(map.sh), upper(upper), lower(lower), pairs(pairs) {
    if (map.data != nullptr) pixel = opaque(map.data + map.offset(image, 2 * y, 2 * x));
  }
  MAGNET_DEVICE bool wanted() const { return pixel != nullptr; }
  MAGNET_DEVICE void put_row(Global<T> at, const Pack<T, 2>& x) const {
    if (pairs) return store_once<2>(at, x);
    at[0] = x.value[0];
    at[right] = x.value[1];
  }
  MAGNET_DEVICE void put(const Pack<T, 4>& x) {
    if (upper) put_row(pixel - down, half_of(x, 0));
    if (lower) put_row(pixel, half_of(x, 1));
    pixel = opaque(pixel + stride);
  }
};

// The four pixels of a square, of the small map made twice its size: the same values as Upsampled gives, whose weights
// are exactly 1/4 and 3/4 here, and 0 in the first row and column. What it gives outside of the large map is of no use.
template <class T>
struct UpsampledSquare {
  using Element = T;
  static constexpr int kPixels = 4;
  using A = Wide<T>;
  Global<const T> upper, lower;   // of the first of three columns
  int64_t stride, middle, right;  // from the first column to the other two
  bool first_row, first_column;

  // y, x: as in Square. Columns and rows beyond the small map are those at its border.
  MAGNET_DEVICE UpsampledSquare(const View<const T>& map, int64_t image, int64_t y, int64_t x)
      : stride(map.sc), first_row(y == 0), first_column(x == 0) {
    const int64_t left = x > 0 ? x - 1 : 0;
    upper = opaque(map.data + map.offset(image, y > 0 ? y - 1 : 0, left));
    lower = opaque(map.data + map.offset(image, y < map.h ? y : map.h - 1, left));
    middle = x > 0 ? map.sw : 0;
    right = middle + (x + 1 < map.w ? map.sw : 0);
  }
  MAGNET_DEVICE UpsampledSquare(const View<const T>& map, const Square& at)
      : UpsampledSquare(map, at.image, at.y, at.x) {}
  MAGNET_DEVICE static A between(bool first, A a, A b, A weight) {
    return first ? a : a * (A(1) - weight) + b * weight;
  }
  MAGNET_DEVICE Pack<T, 4> next() {
    const A above[3] = {widen<T>(upper[0]), widen<T>(upper[middle]), widen<T>(upper[right])};
    const A below[3] = {widen<T>(lower[0]), widen<T>(lower[middle]), widen<T>(lower[right])};
    upper = opaque(upper + stride);
    lower = opaque(lower + stride);
    Pack<T, 4> x;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      A column[3];
#pragma unroll
      for (int k = 0; k < 3; ++k)
        column[k] = between(i == 1 && first_row, above[k], below[k], i == 1 ? A(0.75) : A(0.25));
      x.value[2 * i] = narrow<T>(between(first_column, column[0], column[1], A(0.75)));
      x.value[2 * i + 1] = narrow<T>(between(false, column[1], column[2], A(0.25)));
    }
    return x;
  }
};

constexpr int kSquaresInFlight = 2;  // as many planes of six or eight loads each as fit into 64 registers

// The floats of a square, of a map without gaps whose rows are of an even length.
struct SquareScores {
  Global<float> pixel;  // lower left
  int64_t width;
  bool upper, lower;

  MAGNET_DEVICE SquareScores(Global<float> scores, int64_t height, int64_t width, const Square& at)
      : pixel(opaque(scores + ((at.image * height + 2 * at.y) * width + 2 * at.x))),
        width(width),
        upper(at.upper),
        lower(at.lower) {}
  MAGNET_DEVICE void put(const float (&x)[4]) const {
    if (upper) store<2>(pixel - width, Pack<float, 2>{{x[0], x[1]}});
    if (lower) store<2>(pixel, Pack<float, 2>{{x[2], x[3]}});
  }
};

}  // namespace magnet::cuda
