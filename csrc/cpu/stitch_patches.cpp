// stitch_patches: patches resized to their boxes and laid into a map, overlaps averaged.
#include <map>
#include <memory>
#include <tuple>

#include "cpu/boxes.h"
#include "cpu/layout.h"
#include "cpu/resample.h"

namespace magnet {
namespace {

// A patch that touches the map.
template <class A>
struct Place {
  int64_t patch;
  PixelBox box;
  PixelRange rows, columns;  // of the map
  std::shared_ptr<const ColumnPlan<A>> plan;
};

template <class A>
std::vector<std::vector<Place<A>>> find_places(const std::vector<Box>& boxes, int64_t images, int64_t height,
                                               int64_t width, int64_t patch_width) {
  std::vector<std::vector<Place<A>>> result(images);
  std::map<std::tuple<int64_t, int64_t, int64_t>, std::shared_ptr<const ColumnPlan<A>>> plans;
  for (size_t p = 0; p < boxes.size(); ++p) {
    const PixelBox box = rounded(boxes[p]);
    const PixelRange rows = clip(box.y0, box.y1, height), columns = clip(box.x0, box.x1, width);
    if (rows.begin == rows.end || columns.begin == columns.end) continue;
    const int64_t begin = columns.begin - box.x0, n = columns.end - columns.begin, resized = box.x1 - box.x0;
    auto& plan = plans[{begin, n, resized}];
    if (!plan) plan = std::make_shared<ColumnPlan<A>>(bilinear_plan<A>(begin, n, patch_width, resized));
    result[box.image].push_back({static_cast<int64_t>(p), box, rows, columns, plan});
  }
  return result;
}

// What a worker keeps of the row it is at.
template <class T>
struct Row {
  struct Part {
    const Place<Wide<T>>* place;
    RowPair<T> source;  // of plane 0
  };
  std::vector<Part> parts;
  bool overlap = false;
  int64_t covered = 0;  // pixels, where nothing overlaps

  void set(const std::vector<Place<Wide<T>>>& places, const Map& patches, int64_t y) {
    parts.clear();
    overlap = false;
    covered = 0;
    for (const auto& place : places) {
      if (y < place.rows.begin || y >= place.rows.end) continue;
      for (const Part& other : parts) {
        overlap |= place.columns.begin < other.place->columns.end && other.place->columns.begin < place.columns.end;
      }
      covered += place.columns.end - place.columns.begin;
      const T* patch = reinterpret_cast<const T*>(patches.data) + place.patch * patches.sn;
      const auto tap = bilinear_tap<Wide<T>>(y - place.box.y0, patches.h, place.box.y1 - place.box.y0);
      parts.push_back({&place, RowPair<T>(patch, patches.sh, tap)});
    }
  }
};

template <class T>
void stitch(const Map& patches, const std::vector<Box>& boxes, const Map& out, bool pixels, bool* covered) {
  using A = Wide<T>;
  const int64_t inner = pixels ? patches.c : 1, planes = pixels ? 1 : patches.c;
  const Resampler<T> run = resampler<T>();
  const auto places = find_places<A>(boxes, out.n, out.h, out.w, patches.w);
  const int64_t items = out.n * out.h, workers = worker_count(items);
  const int64_t source_size = patches.w * inner + kRowPadding, row_size = out.w * inner;
  Workspace space(workers, (source_size + 2 * row_size + out.w) * sizeof(A));
  std::vector<Row<T>> rows(workers);
  for_each_item(items, [&](int64_t worker, int64_t item) {
    const int64_t image = item / out.h, y = item % out.h;
    Row<T>& row = rows[worker];
    row.set(places[image], patches, y);
    A* source = reinterpret_cast<A*>(space.of(worker));
    A *resized = source + source_size, *total = resized + row_size, *count = total + row_size;

    bool* cover = covered + item * out.w;
    std::memset(cover, 0, out.w);
    for (const auto& part : row.parts) {
      const PixelRange columns = part.place->columns;
      std::memset(cover + columns.begin, 1, columns.end - columns.begin);
    }
    if (row.overlap) {
      std::fill_n(count, out.w, A(0));
      for (const auto& part : row.parts) {
        for (int64_t x = part.place->columns.begin; x < part.place->columns.end; ++x) count[x] += A(1);
      }
    }

    for (int64_t plane = 0; plane < planes; ++plane) {
      T* to = reinterpret_cast<T*>(out.data) + image * out.sn + plane * out.sc + y * out.sh;
      if (row.overlap) {
        std::fill_n(total, row_size, A(0));
      } else if (row.covered < out.w) {
        std::memset(static_cast<void*>(to), 0, row_size * sizeof(T));
      }
      for (const auto& part : row.parts) {
        const ColumnPlan<A>& plan = *part.place->plan;
        const int64_t begin = plan.input_begin(0), n = plan.n, at = part.place->columns.begin * inner;
        const int64_t shift = plane * patches.sc + begin * inner;
        const T* from[2] = {part.source.rows[0] + shift, part.source.rows[1] + shift};
        if (!row.overlap && plan.shift && part.source.taps == 1) {
          std::memcpy(static_cast<void*>(to + at), from[0], n * inner * sizeof(T));
          continue;
        }
        const int64_t width = plan.input_end(n - 1) - begin;
        run.combine(from, part.source.weights, part.source.taps, width * inner, source);
        if (row.overlap) {
          run.columns(source, begin, plan, 0, n, inner, resized);
          run.add(resized, n * inner, total + at);
        } else if constexpr (std::is_same_v<A, T>) {
          run.columns(source, begin, plan, 0, n, inner, to + at);
        } else {
          run.columns(source, begin, plan, 0, n, inner, resized);
          run.narrow(resized, n * inner, to + at);
        }
      }
      if (row.overlap) run.divide(total, count, out.w, inner, to);
    }
  });
}

std::tuple<Tensor, Tensor> stitch_patches(const Tensor& patches, const Tensor& boxes, int64_t height, int64_t width,
                                          int64_t batch_size) {
  check(patches.dim() == 4, "patches: expected 4 dimensions (P, C, h, w), got ", patches.dim());
  check(height > 0 && width > 0, "size: expected two positive ints (H, W)");
  check(batch_size >= 0, "batch_size: expected an int >= 0, got ", batch_size);
  const std::vector<Box> list = read_boxes(boxes, batch_size);
  check(static_cast<int64_t>(list.size()) == patches.size(0), "boxes: expected one for each of the ", patches.size(0),
        " patches, got ", list.size());
  const bool channels_last = is_channels_last(patches);
  Tensor result = new_map(patches, batch_size, patches.size(1), height, width, channels_last);
  Tensor covered = torch::stable::new_empty(patches, {batch_size, 1, height, width}, ScalarType::Bool);
  if (covered.numel() == 0) return {result, covered};
  check(patches.size(2) > 0 && patches.size(3) > 0, "patches: expected at least one pixel (H, W >= 1)");
  const Tensor dense = with_dense_rows(patches);
  const Map map = view(dense, "patches"), out = view(result, "result");
  visit_element(map.type, [&](auto zero) {
    stitch<decltype(zero)>(map, list, out, channels_last, static_cast<bool*>(covered.data_ptr()));
  });
  return {result, covered};
}

}  // namespace
}  // namespace magnet

STABLE_TORCH_LIBRARY_IMPL(magnet_kernels, CPU, m) { m.impl("stitch_patches", TORCH_BOX(&magnet::stitch_patches)); }
