// stitch_patches: patches resized to their boxes and laid into a map, overlaps averaged.
#include <cstring>

#include "binding/patch_arguments.h"
#include "cpu/parts/layout.h"
#include "cpu/parts/places.h"
#include "cpu/parts/prefetch.h"

namespace magnet {
namespace {

template <class T>
void stitch(const Map& patches, const std::vector<Box>& boxes, const Map& out, bool pixels, bool* covered) {
  using A = Wide<T>;
  const int64_t inner = pixels ? patches.c : 1, planes = pixels ? 1 : patches.c;
  const Resampler<T> run = resampler<T>();
  const std::vector<Places<A>> places = find_places<A>(boxes, out.n, out.h, out.w, patches.w);
  const int64_t items = out.n * out.h;
  const int64_t source_size = patches.w * inner + kRowPadding, row_size = out.w * inner;
  const bool streams = outgrows_caches(out.n * out.c * out.h * out.w * out.item());
  Workspace space(worker_count(items), (source_size + 3 * row_size + out.w) * sizeof(A));
  for_each_item(items, [&](int64_t worker, int64_t item) {
    const int64_t image = item / out.h, y = item % out.h;
    const Band<A>& band = places[image].band(y);
    A* source = reinterpret_cast<A*>(space.of(worker));
    A *resized = source + source_size, *total = resized + row_size, *count = total + row_size;
    T* made = reinterpret_cast<T*>(count + out.w);  // the row, where it is written past the caches

    bool* cover = covered + item * out.w;
    const bool whole = band.covered.size() == 1 && band.covered[0].end - band.covered[0].begin == out.w;
    std::memset(cover, 0, out.w);
    for (const PixelRange& columns : band.covered) {
      std::memset(cover + columns.begin, 1, columns.end - columns.begin);
    }
    if (band.overlap) {
      std::fill_n(count, out.w, A(0));
      for (const Place<A>* place : band.places) {
        for (int64_t x = place->columns.begin; x < place->columns.end; ++x) count[x] += A(1);
      }
    }

    for (int64_t plane = 0; plane < planes; ++plane) {
      T* row = reinterpret_cast<T*>(out.data) + image * out.sn + plane * out.sc + y * out.sh;
      T* to = streams ? made : row;
      if (band.overlap) {
        std::fill_n(total, row_size, kNothing<A>);
      } else if (!whole) {
        std::memset(static_cast<void*>(to), 0, row_size * sizeof(T));
      }
      for (const Place<A>* place : band.places) {
        const T* patch = reinterpret_cast<const T*>(patches.data) + place->patch * patches.sn + plane * patches.sc +
                         place->plan->input_begin(0) * inner;
        const RowPair<T> rows(patch, patches.sh,
                              bilinear_tap<A>(y - place->box.y0, patches.h, place->box.y1 - place->box.y0));
        const int64_t at = place->columns.begin * inner;
        if (plane + 1 < planes) {
          const int64_t bytes = (place->plan->input_end(place->plan->n - 1) - place->plan->input_begin(0)) * sizeof(T);
          for (int k = 0; k < rows.taps; ++k) prefetch(rows.rows[k] + patches.sc, bytes);
        }
        stitch_part<T>(run, *place->plan, 0, place->plan->n, inner, rows.rows, rows.weights, rows.taps,
                       {source, resized}, 0, to + at, band.overlap ? total + at : nullptr);
      }
      if (band.overlap) run.divide(total, count, out.w, inner, to);
      if (streams) run.stream(made, row_size, row);
    }
  });
}

std::tuple<Tensor, Tensor> stitch_patches(const Tensor& patches, const Tensor& boxes, int64_t height, int64_t width,
                                          int64_t batch_size) {
  const std::vector<Box> list = read_stitch_arguments(patches, boxes, height, width, batch_size);
  const bool channels_last = is_channels_last(patches);
  Tensor result = new_large_map(patches, batch_size, patches.size(1), height, width, channels_last);
  Tensor covered = torch::stable::new_empty(patches, {batch_size, 1, height, width}, ScalarType::Bool);
  if (covered.numel() == 0) return {result, covered};
  check_not_empty(patches.size(2), patches.size(3), "patches");
  const Tensor dense = with_dense_rows(patches);
  const Map map = view(dense, "patches"), out = view(result, "result");
  visit_element(map.type, [&](auto zero) {
    stitch<decltype(zero)>(map, list, out, channels_last, static_cast<bool*>(covered.data_ptr()));
  });
  return {result, covered};
}

}  // namespace
}  // namespace magnet

STABLE_TORCH_LIBRARY_FRAGMENT(magnet_kernels, m) {
  m.def(
      "stitch_patches(Tensor patches, Tensor boxes, SymInt height, SymInt width, SymInt batch_size) -> (Tensor, "
      "Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(magnet_kernels, CPU, m) { m.impl("stitch_patches", TORCH_BOX(&magnet::stitch_patches)); }
