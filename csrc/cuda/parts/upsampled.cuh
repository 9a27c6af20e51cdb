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

// --- to twice the size: a thread takes the 2 x 2 pixels between the centres of 2 x 2 pixels of the small map

// The square of this thread, of a grid of (h + 1) x (w + 1) squares: those at the border are partly outside.
struct Square {
  bool exists;
  int64_t image, y, x;  // of the small map's pixel to the lower right of the centre; 2y, 2x: of the large map's
  uint32_t inside;      // bits: upper left, upper right, lower left, lower right

  MAGNET_DEVICE Square(const PixelGrid& grid, int threads) {
    const PixelPlace<1> place(grid, threads);
    exists = place.exists;
    image = place.image;
    y = place.y;
    x = place.x;
    const uint32_t columns = (x > 0 ? 5u : 0u) | (x + 1 < grid.length ? 10u : 0u);
    inside = columns & ((y > 0 ? 3u : 0u) | (y + 1 < grid.rows ? 12u : 0u));
  }
};

// The four pixels of a square, of the large map, of any strides.
template <class T>
struct SquarePlanes {
  using Element = T;
  static constexpr int kPixels = 4;
  Global<const T> pixel;  // lower right
  int64_t stride, right, down;
  uint32_t inside;

  MAGNET_DEVICE SquarePlanes(const View<const T>& map, const Square& at)
      : pixel(opaque(map.data + map.offset(at.image, 2 * at.y, 2 * at.x))),
        stride(map.sc),
        right(map.sw),
        down(map.sh),
        inside(at.inside) {}
  MAGNET_DEVICE Pack<T, 4> next() {
    Pack<T, 4> x{};
    if (inside & 1) x.value[0] = pixel[-down - right];
    if (inside & 2) x.value[1] = pixel[-down];
    if (inside & 4) x.value[2] = pixel[-right];
    if (inside & 8) x.value[3] = pixel[0];
    pixel = opaque(pixel + stride);
    return x;
  }
};

// To the four pixels of a square, as far as they are inside; nowhere where the map's data is null.
template <class T>
struct CopySquare {
  Global<T> pixel;  // lower right
  int64_t stride, right, down;
  uint32_t inside;

  MAGNET_DEVICE CopySquare(const View<T>& map, const Square& at)
      : pixel(map.data), stride(map.sc), right(map.sw), down(map.sh), inside(at.inside) {
    if (map.data != nullptr) pixel = opaque(map.data + map.offset(at.image, 2 * at.y, 2 * at.x));
  }
  MAGNET_DEVICE bool wanted() const { return pixel != nullptr; }
  MAGNET_DEVICE void put(const Pack<T, 4>& x) {
    if (inside & 1) pixel[-down - right] = x.value[0];
    if (inside & 2) pixel[-down] = x.value[1];
    if (inside & 4) pixel[-right] = x.value[2];
    if (inside & 8) pixel[0] = x.value[3];
    pixel = opaque(pixel + stride);
  }
};

// The four pixels of a square, of the small map made twice its size: the same values as Upsampled gives, whose weights
// are exactly 1/4 and 3/4 here, and 0 in the first row and column.
template <class T>
struct UpsampledSquare {
  using Element = T;
  static constexpr int kPixels = 4;
  Global<const T> upper, lower;  // left
  int64_t stride, right;
  bool first_row, first_column;

  // y, x: of the small map's pixel to the lower right, as in Square.
  MAGNET_DEVICE UpsampledSquare(const View<const T>& map, int64_t image, int64_t y, int64_t x)
      : stride(map.sc), right(x > 0 && x < map.w ? map.sw : 0), first_row(y == 0), first_column(x == 0) {
    const int64_t left = x > 0 ? x - 1 : 0;
    upper = opaque(map.data + map.offset(image, y > 0 ? y - 1 : 0, left));
    lower = opaque(map.data + map.offset(image, y < map.h ? y : map.h - 1, left));
  }
  MAGNET_DEVICE UpsampledSquare(const View<const T>& map, const Square& at)
      : UpsampledSquare(map, at.image, at.y, at.x) {}
  MAGNET_DEVICE static Wide<T> between(bool first, Wide<T> a, Wide<T> b, Wide<T> weight) {
    return first ? a : a * (Wide<T>(1) - weight) + b * weight;
  }
  MAGNET_DEVICE Pack<T, 4> next() {
    const Wide<T> a = widen<T>(upper[0]), b = widen<T>(upper[right]), c = widen<T>(lower[0]),
                  d = widen<T>(lower[right]);
    upper = opaque(upper + stride);
    lower = opaque(lower + stride);
    Pack<T, 4> x;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const Wide<T> row = i == 0 ? Wide<T>(0.25) : Wide<T>(0.75);
      const Wide<T> l = between(first_row, a, c, row), r = between(first_row, b, d, row);
      x.value[2 * i] = narrow<T>(between(first_column, l, r, Wide<T>(0.25)));
      x.value[2 * i + 1] = narrow<T>(between(first_column, l, r, Wide<T>(0.75)));
    }
    return x;
  }
};

constexpr int kSquaresInFlight = 2;  // as many planes of four loads each as fit into 64 registers

// Single floats of a square.
struct SquareScores {
  Global<float> pixel;  // lower right
  int64_t width;
  uint32_t inside;

  MAGNET_DEVICE SquareScores(Global<float> scores, int64_t height, int64_t width, const Square& at)
      : pixel(opaque(scores + ((at.image * height + 2 * at.y) * width + 2 * at.x))), width(width), inside(at.inside) {}
  MAGNET_DEVICE void put(const float (&x)[4]) const {
    if (inside & 1) pixel[-width - 1] = x[0];
    if (inside & 2) pixel[-width] = x[1];
    if (inside & 4) pixel[-1] = x[2];
    if (inside & 8) pixel[0] = x[3];
  }
};

}  // namespace magnet::cuda
