// upsample_confidence: a map made larger, and the confidence of the larger map, block by block while it is in cache.
#include "binding/checks.h"
#include "cpu/parts/layout.h"
#include "cpu/parts/margins.h"
#include "cpu/parts/prefetch.h"
#include "cpu/parts/resample.h"
#include "cpu/parts/tiles.h"
#include "cpu/parts/upsample.h"

namespace magnet {
namespace {

constexpr int64_t kBand = 8;  // at most, rows that a thread makes one after the other: what it read is in cache

// Rows of planes: a block of every class is made in scratch memory, whose margins are taken while it is copied out.
template <class T>
void upsample_planes(const Map& coarse, const Map& out, bool from_logits, float* confidence) {
  using A = Wide<T>;
  const Resampler<T> run = resampler<T>();
  const ColumnPlan<A> plan = bilinear_plan<A>(0, out.w, coarse.w, out.w);
  const int64_t block = upsampled_pixels(out);
  const int64_t stride = block + 16;  // not a power of two: planes do not evict each other
  const int64_t row_bytes = (coarse.w + kRowPadding) * sizeof(A), block_bytes = stride * sizeof(A);
  const int64_t rows = out.n * out.h;
  const int64_t band = std::clamp<int64_t>(rows / (4 * worker_count(rows)), 1, kBand);  // enough for every thread
  const int64_t bands = (rows + band - 1) / band;
  const bool streams = outgrows_caches(rows * out.c * out.w * out.item());
  Workspace space(worker_count(bands), row_bytes + block_bytes + out.c * stride * sizeof(T));
  const auto make_row = [&](int64_t worker, int64_t item) {
    const int64_t image = item / out.h, y = item % out.h;
    A* row = reinterpret_cast<A*>(space.of(worker));
    A* resampled = reinterpret_cast<A*>(space.of(worker) + row_bytes);
    T* tile = reinterpret_cast<T*>(space.of(worker) + row_bytes + block_bytes);
    const RowPair<T> pair(reinterpret_cast<const T*>(coarse.at(image, 0, 0)), coarse.sh,
                          bilinear_tap<A>(y, coarse.h, out.h));
    const int seen = item % band == 0 ? 0 : rows_seen<A>(y, coarse.h, out.h);
    for (int64_t x = 0; x < out.w; x += block) {
      const int64_t n = std::min(block, out.w - x);
      const int64_t begin = plan.input_begin(x), width = plan.input_end(x + n - 1) - begin;
      for (int64_t c = 0; c < out.c; ++c) {
        const T* sources[2] = {pair.rows[0] + c * coarse.sc + begin, pair.rows[1] + c * coarse.sc + begin};
        if (c + kPlanesAhead < out.c) {
          for (int k = seen; k < pair.taps; ++k) prefetch(sources[k] + kPlanesAhead * coarse.sc, width * sizeof(T));
        }
        run.combine(sources, pair.weights, pair.taps, width, row);
        if constexpr (std::is_same_v<A, T>) {
          run.columns(row, begin, plan, x, n, 1, tile + c * stride);
        } else {
          run.columns(row, begin, plan, x, n, 1, resampled);
          run.narrow(resampled, n, tile + c * stride);
        }
      }
      margin_planes(out.type, tile, stride, out.c, n, from_logits, confidence + item * out.w + x, out.at(image, y, x),
                    out.sc, streams);
    }
  };
  for_each_item(bands, [&](int64_t worker, int64_t number) {
    for (int64_t i = number * band; i < std::min(rows, (number + 1) * band); ++i) make_row(worker, i);
  });
}

// Rows of pixels of consecutive classes.
template <class T>
void upsample_pixels(const Map& coarse, const Map& out, bool from_logits, float* confidence) {
  using A = Wide<T>;
  const Resampler<T> run = resampler<T>();
  const ColumnPlan<A> plan = bilinear_plan<A>(0, out.w, coarse.w, out.w);
  constexpr int64_t kBlock = 64;
  const int64_t c = out.c, row_bytes = ((coarse.w + 1) * c + kRowPadding) * sizeof(A),
                block_bytes = kBlock * c * sizeof(A);
  const int64_t items = out.n * out.h;
  Workspace space(worker_count(items), row_bytes + block_bytes + tile_bytes(out));
  for_each_item(items, [&](int64_t worker, int64_t item) {
    const int64_t image = item / out.h, y = item % out.h;
    A* row = reinterpret_cast<A*>(space.of(worker));
    A* resampled = reinterpret_cast<A*>(space.of(worker) + row_bytes);
    char* tile = space.of(worker) + row_bytes + block_bytes;
    const RowPair<T> pair(reinterpret_cast<const T*>(coarse.at(image, 0, 0)), coarse.sh,
                          bilinear_tap<A>(y, coarse.h, out.h));
    run.combine(pair.rows, pair.weights, pair.taps, coarse.w * c, row);
    for (int64_t x = 0; x < out.w; x += kBlock) {
      const int64_t n = std::min(kBlock, out.w - x);
      T* to = reinterpret_cast<T*>(out.at(image, y, x));
      if constexpr (std::is_same_v<A, T>) {
        run.columns(row, 0, plan, x, n, c, to);
      } else {
        run.columns(row, 0, plan, x, n, c, resampled);
        run.narrow(resampled, n * c, to);
      }
      margin_pixels(out, image, y, x, n, from_logits, tile, confidence + item * out.w + x);
    }
  });
}

// The size does not change.
void copy_map(const Map& coarse, const Map& out, bool from_logits, float* confidence) {
  const int64_t items = out.n * out.h;
  const bool streams = outgrows_caches(items * out.c * out.w * out.item());
  Workspace tiles(worker_count(items), coarse.planar() ? 0 : tile_bytes(coarse));
  for_each_item(items, [&](int64_t worker, int64_t item) {
    margin_pixels(coarse, item / out.h, item % out.h, 0, out.w, from_logits, tiles.of(worker),
                  confidence + item * out.w, &out, streams);
  });
}

std::tuple<Tensor, Tensor> upsample_confidence(const Tensor& coarse, int64_t height, int64_t width, bool from_logits) {
  check_upsample_arguments(coarse, height, width);
  check(coarse.size(3) < (int64_t{1} << 31), "coarse: expected rows of less than 2**31 pixels");
  const int64_t n = coarse.size(0);
  const bool channels_last = is_channels_last(coarse);
  Tensor result = new_large_map(coarse, n, coarse.size(1), height, width, channels_last);
  Tensor margins = new_scores(coarse, n, height, width);
  if (n == 0) return {result, margins};
  prefer_large_pages(margins, n * height * width * 4);
  float* confidence = static_cast<float*>(margins.data_ptr());
  const Map out = view(result, "result");
  if (coarse.size(2) == height && coarse.size(3) == width) {
    copy_map(view(coarse, "coarse"), out, from_logits, confidence);
    return {result, margins};
  }
  const Tensor dense = with_dense_rows(coarse);
  const Map map = view(dense, "coarse");
  visit_element(map.type, [&](auto zero) {
    using T = decltype(zero);
    if (channels_last) {
      upsample_pixels<T>(map, out, from_logits, confidence);
    } else {
      upsample_planes<T>(map, out, from_logits, confidence);
    }
  });
  return {result, margins};
}

}  // namespace
}  // namespace magnet

STABLE_TORCH_LIBRARY_FRAGMENT(magnet_kernels, m) {
  m.def("upsample_confidence(Tensor coarse, SymInt height, SymInt width, bool from_logits=False) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(magnet_kernels, CPU, m) {
  m.impl("upsample_confidence", TORCH_BOX(&magnet::upsample_confidence));
}
