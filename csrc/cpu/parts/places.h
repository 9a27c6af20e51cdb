// Where patches lie on a map, row by row: what stitching them needs to know.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "binding/boxes.h"
#include "cpu/parts/resample.h"

namespace magnet {

// A patch that touches the map.
template <class A>
struct Place {
  int64_t patch;
  PixelBox box;
  PixelRange rows, columns;  // of the map
  std::shared_ptr<const ColumnPlan<A>> plan;
};

// Rows that the same patches lie on.
template <class A>
struct Band {
  int64_t begin, end;
  std::vector<const Place<A>*> places;  // in the order of the patches
  std::vector<PixelRange> covered;      // columns, ascending, apart
  bool overlap;
};

// The patches of one image.
template <class A>
class Places {
 public:
  Places(std::vector<Place<A>> places, int64_t height, int64_t width) : places_(std::move(places)) {
    std::vector<int64_t> edges{0, height};
    for (const Place<A>& place : places_) {
      edges.push_back(place.rows.begin);
      edges.push_back(place.rows.end);
    }
    std::sort(edges.begin(), edges.end());
    edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
    for (size_t i = 0; i + 1 < edges.size(); ++i) bands_.push_back(make_band(edges[i], edges[i + 1]));
    for (const Band<A>& band : bands_) {
      full_ &= band.covered.size() == 1 && band.covered[0].begin == 0 && band.covered[0].end == width;
    }
  }
  Places(Places&&) = default;
  Places(const Places&) = delete;  // bands point into places_

  bool empty() const { return places_.empty(); }
  bool full() const { return full_; }  // every pixel is covered
  const std::vector<Place<A>>& all() const { return places_; }
  const Band<A>& band(int64_t y) const {
    return *std::partition_point(bands_.begin(), bands_.end(), [&](const Band<A>& band) { return band.end <= y; });
  }

 private:
  Band<A> make_band(int64_t begin, int64_t end) const {
    Band<A> band{begin, end, {}, {}, false};
    for (const Place<A>& place : places_) {
      if (place.rows.begin > begin || place.rows.end < end) continue;
      band.places.push_back(&place);
      band.covered.push_back(place.columns);
    }
    std::sort(band.covered.begin(), band.covered.end(),
              [](const PixelRange& a, const PixelRange& b) { return a.begin < b.begin; });
    size_t last = 0;
    for (size_t i = 1; i < band.covered.size(); ++i) {
      PixelRange& range = band.covered[last];
      const PixelRange next = band.covered[i];
      band.overlap |= next.begin < range.end;
      if (next.begin <= range.end) {
        range.end = std::max(range.end, next.end);
      } else {
        band.covered[++last] = next;
      }
    }
    if (!band.covered.empty()) band.covered.resize(last + 1);
    return band;
  }

  std::vector<Place<A>> places_;
  std::vector<Band<A>> bands_;
  bool full_ = true;
};

// One for each image. patch_width: of the patches before they are resized to their boxes.
template <class A>
std::vector<Places<A>> find_places(const std::vector<Box>& boxes, int64_t images, int64_t height, int64_t width,
                                   int64_t patch_width) {
  std::vector<std::vector<Place<A>>> found(images);
  std::map<std::tuple<int64_t, int64_t, int64_t>, std::shared_ptr<const ColumnPlan<A>>> plans;
  for (size_t p = 0; p < boxes.size(); ++p) {
    const PixelBox box = rounded(boxes[p]);
    const PixelRange rows = clip(box.y0, box.y1, height), columns = clip(box.x0, box.x1, width);
    if (rows.begin == rows.end || columns.begin == columns.end) continue;
    const int64_t begin = columns.begin - box.x0, n = columns.end - columns.begin, resized = box.x1 - box.x0;
    auto& plan = plans[{begin, n, resized}];
    if (!plan) plan = std::make_shared<ColumnPlan<A>>(bilinear_plan<A>(begin, n, patch_width, resized));
    found[box.image].push_back({static_cast<int64_t>(p), box, rows, columns, plan});
  }
  std::vector<Places<A>> result;
  for (auto& places : found) result.emplace_back(std::move(places), height, width);
  return result;
}

// Memory for rows that are being resampled.
template <class A>
struct StitchBuffers {
  A *source, *resized;
};

// Outputs [first, first + n) of a place's row, of one plane (inner = 1) or of all classes: into `to`, or added to
// `total` where that is not null. rows, weights: the one or two (taps) rows of the patch that it is made of, at the
// inputs from plan.input_begin(first) on. first: a multiple of 16 where inner is 1.
template <class T>
void stitch_part(const Resampler<T>& run, const ColumnPlan<Wide<T>>& plan, int64_t first, int64_t n, int64_t inner,
                 const T* const* rows, const Wide<T>* weights, int taps, StitchBuffers<Wide<T>> buffers, int64_t skip,
                 T* to, Wide<T>* total) {
  using A = Wide<T>;
  const int64_t elements = (n - skip) * inner;
  if (!total && plan.shift && taps == 1) {
    std::copy(rows[0] + skip * inner, rows[0] + n * inner, to);
    return;
  }
  const int64_t begin = plan.input_begin(first), width = plan.input_end(first + n - 1) - begin;
  if (total && plan.shift) {  // columns stay as they are
    const A* part = buffers.source;
    if constexpr (std::is_same_v<A, T>) {
      if (taps == 1) part = rows[0];
    }
    if (part == buffers.source) run.combine(rows, weights, taps, width * inner, buffers.source);
    return run.add(part + skip * inner, elements, total);
  }
  run.combine(rows, weights, taps, width * inner, buffers.source);
  if constexpr (std::is_same_v<A, T>) {
    if (!total && skip == 0) return run.columns(buffers.source, begin, plan, first, n, inner, to);
  }
  run.columns(buffers.source, begin, plan, first, n, inner, buffers.resized);
  const A* part = buffers.resized + skip * inner;
  if (total) {
    run.add(part, elements, total);
  } else {
    run.narrow(part, elements, to);
  }
}

}  // namespace magnet
