// RoIAlign with adaptive sampling. Its weights are those of an axis times those of the other, so they are made first,
// one axis at a time, and what the samples of an output give to the same pixel is added up. Boxes of whole pixels that
// are not resized are copied.
#pragma once

#include "common/roi_align.h"
#include "cuda/crop_patches.h"
#include "cuda/parts/boxes.cuh"
#include "cuda/parts/map.cuh"

namespace magnet::cuda {

constexpr int kCropThreads = 256;

using CropBoxes = List<CropBox, kFewCropBoxes>;

// Weighted pixels of every output row (0 to h) and output column (h to h + w) of every box.
template <class A>
struct CropTaps {
  Global<int32_t> span;  // (boxes, outputs, 2): first pixel, number of pixels
  Global<A> weight;      // (boxes, most, outputs)
  int64_t outputs;       // h + w
  int64_t most;          // pixels of an output

  MAGNET_DEVICE Pack<int32_t, 2> span_of(int64_t box, int64_t output) const {
    return load<2>(span + (box * outputs + output) * 2);
  }
  MAGNET_DEVICE Global<A> weights_of(int64_t box, int64_t output) const {
    return weight + (box * most * outputs + output);
  }
};

// The first sample whose position may be `bound` pixels or more, but for rounding, and the same for the last.
MAGNET_DEVICE int64_t sample_near(const RoiAxis& axis, int64_t output, double bound) {
  const double samples = static_cast<double>(axis.samples);
  double s = (bound - axis.start - static_cast<double>(output) * axis.bin_size) * samples / axis.bin_size - 0.5;
  s = s > 0.0 ? s : 0.0;
  return static_cast<int64_t>(s < samples ? s : samples);
}

// A thread makes one output of one box. The same sums in the same order as on the CPU.
template <class A>
MAGNET_KERNEL(kCropThreads, 80, 3)
void crop_taps(CropBoxes boxes, CropTaps<A> taps, int64_t map_h, int64_t map_w, int64_t out_h) {
  const uint32_t blocks = static_cast<uint32_t>((taps.outputs + kCropThreads - 1) / kCropThreads);
  const uint32_t box = blockIdx.x / blocks;
  int64_t output = static_cast<int64_t>(blockIdx.x - box * blocks) * kCropThreads + threadIdx.x;
  if (output >= taps.outputs) return;
  const Global<int32_t> span = taps.span + (box * taps.outputs + output) * 2;
  const Global<A> weight = taps.weights_of(box, output);
  const CropBox b = boxes.at(static_cast<int>(box));
  const bool is_row = output < out_h;
  const RoiAxis axis = is_row ? b.rows : b.columns;
  const int64_t size = is_row ? map_h : map_w;
  if (!is_row) output -= out_h;

  int64_t first = 0, low = 0, slots = 0, count = 0;
  double sum = 0.0, next = 0.0;  // of pixels low and low + 1
  bool any = false;
  const auto emit = [&] {  // pixel low is complete
    const A own = static_cast<A>(sum);
    if (slots == 0 && own == A(0)) {
      first = low + 1;
    } else {
      if (slots < taps.most) weight[slots * taps.outputs] = own;
      ++slots;
      if (own != A(0)) count = slots;
    }
    sum = next;
    next = 0.0;
    ++low;
  };
  int64_t begin = 0, end = 0;  // samples outside the map are passed over, but for some
  if (axis.samples > 0) {
    begin = sample_near(axis, output, -1.0) - 2;
    end = sample_near(axis, output, static_cast<double>(size)) + 3;
  }
  if (begin < 0) begin = 0;
  if (end > axis.samples) end = axis.samples;
  const double samples = static_cast<double>(axis.samples);
  for (int64_t s = begin; s < end; ++s) {
    const RoiSample sample = roi_sample(axis, output, s, size);
    if (!sample.inside) continue;
    if (!any) first = low = sample.low;
    any = true;
    while (low < sample.low) emit();
    sum += (1.0 - sample.weight) / samples;
    const double rest = sample.weight / samples;
    if (sample.high > sample.low) {
      next += rest;
    } else {
      sum += rest;
    }
  }
  if (any) {
    emit();
    emit();
  }
  Pack<int32_t, 2> result;
  result.value[0] = static_cast<int32_t>(first);
  result.value[1] = static_cast<int32_t>(count);
  store(span, result);
}

// One output row's or column's taps, as a thread goes through them.
template <class A>
struct TapRun {
  int32_t first, count;
  Global<A> weight;

  MAGNET_DEVICE TapRun(const CropTaps<A>& taps, int64_t box, int64_t output) : weight(taps.weights_of(box, output)) {
    const Pack<int32_t, 2> span = taps.span_of(box, output);
    first = span.value[0];
    count = span.value[1];
  }
};

// Tiles of 32 columns and 8 rows; a thread makes one pixel of kPlanes classes.
template <class T, int kPlanes>
MAGNET_KERNEL(kCropThreads, 80, 3)
void crop_planes(View<const T> x, CropBoxes boxes, CropTaps<Wide<T>> taps, View<T> out, uint32_t tiles_x,
                 uint32_t tiles_y) {
  using A = Wide<T>;
  uint32_t tile = blockIdx.x;
  const int64_t column = static_cast<int64_t>(tile % tiles_x) * 32 + threadIdx.x % 32;
  tile /= tiles_x;
  const int64_t row = static_cast<int64_t>(tile % tiles_y) * 8 + threadIdx.x / 32;
  tile /= tiles_y;
  const uint32_t groups = static_cast<uint32_t>((x.c + kPlanes - 1) / kPlanes);
  const int64_t c = static_cast<int64_t>(tile % groups) * kPlanes, p = tile / groups;
  if (column >= out.w || row >= out.h) return;

  const TapRun<A> rows(taps, p, row), columns(taps, p, out.h + column);
  const int64_t image = boxes.at(static_cast<int>(p)).image;
  if (rows.count == 0 || columns.count == 0) {
    const int64_t to = out.offset(p, row, column) + c * out.sc;
    for (int g = 0; g < kPlanes; ++g) {
      if (c + g < x.c) out.data[to + g * out.sc] = narrow<T>(A(0));
    }
    return;
  }
  A sum[kPlanes];
#pragma unroll
  for (int g = 0; g < kPlanes; ++g) sum[g] = kNothing<A>;
  for (int32_t i = 0; i < columns.count; ++i) {
    const A weight = columns.weight[i * taps.outputs];
    A part[kPlanes];
#pragma unroll
    for (int g = 0; g < kPlanes; ++g) part[g] = kNothing<A>;
    int64_t from = x.offset(image, rows.first, columns.first + i) + c * x.sc;
    for (int32_t k = 0; k < rows.count; ++k, from += x.sh) {
      const A row_weight = rows.weight[k * taps.outputs];
#pragma unroll
      for (int g = 0; g < kPlanes; ++g) {
        if (c + g < x.c) part[g] += row_weight * widen(x.data[from + g * x.sc]);
      }
    }
#pragma unroll
    for (int g = 0; g < kPlanes; ++g) sum[g] += part[g] * weight;
  }
  const int64_t to = out.offset(p, row, column) + c * out.sc;
#pragma unroll
  for (int g = 0; g < kPlanes; ++g) {
    if (c + g < x.c) out.data[to + g * out.sc] = narrow<T>(sum[g]);
  }
}

// Rows of less than 2^31 elements, pixels of consecutive classes: a block makes 256 elements of kRows rows, a thread
// one of each.
template <class T, int kRows>
MAGNET_KERNEL(kCropThreads, 80, 3)
void crop_pixels(View<const T> x, CropBoxes boxes, CropTaps<Wide<T>> taps, View<T> out, uint32_t tiles_x,
                 uint32_t tiles_y) {
  using A = Wide<T>;
  uint32_t tile = blockIdx.x;
  const uint32_t element = tile % tiles_x * kCropThreads + threadIdx.x, classes = static_cast<uint32_t>(out.c);
  const int64_t column = element / classes, c = element % classes;
  tile /= tiles_x;
  const int64_t top = static_cast<int64_t>(tile % tiles_y) * kRows, p = tile / tiles_y;
  if (column >= out.w) return;

  const TapRun<A> columns(taps, p, out.h + column);
  const int64_t image = boxes.at(static_cast<int>(p)).image;
  for (int64_t row = top; row < top + kRows && row < out.h; ++row) {
    const TapRun<A> rows(taps, p, row);
    const int32_t n_columns = rows.count == 0 ? 0 : columns.count;
    A sum = n_columns == 0 ? A(0) : kNothing<A>;
    for (int32_t i = 0; i < n_columns; ++i) {
      A part = kNothing<A>;
      int64_t from = x.offset(image, rows.first, columns.first + i) + c * x.sc;
      for (int32_t k = 0; k < rows.count; ++k, from += x.sh) {
        part += rows.weight[k * taps.outputs] * widen(x.data[from]);
      }
      sum += part * columns.weight[i * taps.outputs];
    }
    out.data[out.offset(p, row, column) + c * out.sc] = narrow<T>(sum);
  }
}

// The pixel that output `i` of an axis copies; -1: none, it is 0.
MAGNET_DEVICE int64_t copied_pixel(int64_t origin, int64_t i, int64_t size) {
  const int64_t pixel = origin + i;
  if (pixel < -1 || pixel > size) return -1;
  return pixel < 0 ? 0 : pixel > size - 1 ? size - 1 : pixel;
}

constexpr int kCopyRows = 4;  // of a thread, whose loads are on their way at once

// Rows without gaps of `inner` elements a pixel: planes (inner = 1) or pixels of consecutive classes. Each row takes
// 2^log_row threads, which move kPack elements at a time; kPack > 1 where rows of `out` are aligned to that. `aligned`:
// so are the first element of x and the distances between its rows.
template <class U, int kPack>
MAGNET_KERNEL(kCropThreads, 64, 4)
void crop_copy(View<const U> x, CropBoxes boxes, View<U> out, uint32_t inner, int log_row, bool aligned) {
  const uint32_t planes = inner == 1 ? static_cast<uint32_t>(out.c) : 1, rows = kCropThreads >> log_row;
  const uint32_t tiles = (static_cast<uint32_t>(out.h) + rows * kCopyRows - 1) / (rows * kCopyRows);
  const int64_t top = static_cast<int64_t>(blockIdx.x % tiles) * (rows * kCopyRows) + (threadIdx.x >> log_row);
  const uint32_t plane = blockIdx.x / tiles % planes, p = blockIdx.x / tiles / planes;
  const CropBox box = boxes.at(static_cast<int>(p));
  const int64_t upper = static_cast<int64_t>(box.rows.start + 0.5);
  const int64_t left = static_cast<int64_t>(box.columns.start + 0.5);
  const int64_t row_size = out.w * inner, step = static_cast<int64_t>(kPack) << log_row;
  const Global<const U> source = x.data + (box.image * x.sn + plane * x.sc);
  const Global<U> target = out.data + (p * out.sn + plane * out.sc + top * out.sh);
  int64_t from[kCopyRows];  // where the rows begin; -1: a row of zeros
#pragma unroll
  for (int j = 0; j < kCopyRows; ++j) {
    const int64_t y = copied_pixel(upper, top + j * rows, x.h);
    from[j] = y < 0 ? -1 : y * x.sh;
  }
  for (int64_t i = static_cast<int64_t>(threadIdx.x & ((1u << log_row) - 1)) * kPack; i < row_size; i += step) {
    const int64_t begin = left * inner + i;  // in a row of x
    if (begin >= 0 && begin + kPack <= x.w * inner) {
      const bool whole = aligned && (source - x.data + begin) % kPack == 0;
      Pack<U, kPack> packs[kCopyRows] = {};
#pragma unroll
      for (int j = 0; j < kCopyRows; ++j) {
        if (from[j] < 0 || top + j * rows >= out.h) continue;
        const Global<const U> elements = source + (from[j] + begin);
        if (whole) {
          packs[j] = load<kPack>(elements);
        } else {
#pragma unroll
          for (int k = 0; k < kPack; ++k) packs[j].value[k] = elements[k];
        }
      }
#pragma unroll
      for (int j = 0; j < kCopyRows; ++j) {
        if (top + j * rows < out.h) store_once(target + (j * rows * out.sh + i), packs[j]);
      }
    } else {
#pragma unroll 1
      for (int k = 0; k < kPack; ++k) {
        const int64_t column = inner == 1 ? i + k : static_cast<uint32_t>(i + k) / inner;
        const int64_t pixel = copied_pixel(left, column, x.w), element = pixel * inner + (i + k - column * inner);
        U values[kCopyRows] = {};
#pragma unroll
        for (int j = 0; j < kCopyRows; ++j) {
          if (pixel >= 0 && from[j] >= 0 && top + j * rows < out.h) values[j] = source[from[j] + element];
        }
#pragma unroll
        for (int j = 0; j < kCopyRows; ++j) {
          if (top + j * rows < out.h) target[j * rows * out.sh + i + k] = values[j];
        }
      }
    }
  }
}

}  // namespace magnet::cuda
