#include "cpu/parts/stitcher.h"

#include <cstring>

#include "cpu/parts/classes.h"
#include "cpu/parts/places.h"
#include "cpu/parts/tiles.h"

namespace magnet {
namespace {

constexpr int64_t kAlign = 16;      // what stitch_part begins at
constexpr int64_t kNeighbours = 4;  // the pixels that a resampled one is made of

template <class T>
class StitcherOf : public Stitcher {
  using A = Wide<T>;

 public:
  StitcherOf(const Map& patches, const std::vector<Box>& boxes, int64_t images, int64_t height, int64_t width,
             bool from_logits)
      : patches_(patches),
        width_(width),
        from_logits_(from_logits),
        run_(resampler<T>()),
        images_(find_places<A>(boxes, images, height, width, patches.w)) {
    for (const Places<A>& places : images_) {
      for (const Place<A>& place : places.all()) {
        shrinking_ = std::max(shrinking_, static_cast<double>(patches.w) / (place.box.x1 - place.box.x0));
      }
    }
  }

  bool empty(int64_t image) const override { return images_[image].empty(); }
  bool full(int64_t image) const override { return images_[image].full(); }
  const std::vector<PixelRange>& covered(int64_t image, int64_t y) const override {
    return images_[image].band(y).covered;
  }

  int64_t scratch_bytes(int64_t count) const override { return Scratch(*this, nullptr, count).bytes; }

  void pixels(int64_t image, int64_t y, int64_t x, int64_t count, char* scratch, void* tile,
              int64_t stride) const override {
    const Band<A>& band = images_[image].band(y);
    const Scratch s(*this, scratch, count);
    T* to = static_cast<T*>(tile);
    const bool whole = !band.overlap && covers(band, x, x + count);
    if (band.overlap) {
      std::fill_n(s.count, count, A(0));
      std::fill_n(s.total, patches_.c * count, kNothing<A>);
    } else if (!whole) {
      for (int64_t c = 0; c < patches_.c; ++c) std::memset(static_cast<void*>(to + c * stride), 0, count * sizeof(T));
    }
    for (const Place<A>* place : band.places) {
      const int64_t begin = std::max(x, place->columns.begin), end = std::min(x + count, place->columns.end);
      if (begin >= end) continue;
      if (band.overlap) {
        for (int64_t i = begin; i < end; ++i) s.count[i - x] += A(1);
      }
      // From a multiple of 16 outputs on; those before `begin` are left out.
      const int64_t first = (begin - place->columns.begin) / kAlign * kAlign;
      const int64_t skip = begin - place->columns.begin - first, n = end - begin + skip;
      const Rows rows = find_rows(*place, y, first, n, s.gathered);
      for (int64_t c = 0; c < patches_.c; ++c) {
        const T* planes[2] = {rows.at[0] + c * rows.plane, rows.at[1] + c * rows.plane};
        stitch_part<T>(run_, *place->plan, first, n, 1, planes, rows.weights, rows.taps, {s.source, s.resized}, skip,
                       to + c * stride + begin - x, band.overlap ? s.total + c * count + begin - x : nullptr);
      }
    }
    if (!band.overlap) return;
    for (int64_t c = 0; c < patches_.c; ++c) run_.divide(s.total + c * count, s.count, count, 1, to + c * stride);
  }

  void points(int64_t image, const int64_t* points, int64_t count, char* scratch, void* tile,
              int64_t stride) const override {
    const Places<A>& places = images_[image];
    const Band<A>* band = nullptr;
    const Place<A>* last = nullptr;
    T* to = static_cast<T*>(tile);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t y = points[i] / width_, x = points[i] - y * width_;
      if (!band || y < band->begin || y >= band->end) {
        band = &places.band(y);
        last = nullptr;
      }
      if (!band->overlap) {
        if (!last || x < last->columns.begin || x >= last->columns.end) last = find(*band, x);
        if (const T* pixel = last ? unchanged(*last, y, x) : nullptr) {
          for (int64_t c = 0; c < patches_.c; ++c) to[c * stride + i] = pixel[c * patches_.sc];
          continue;
        }
      }
      point(*band, y, x, scratch);
      const T* values = reinterpret_cast<const T*>(scratch);
      for (int64_t c = 0; c < patches_.c; ++c) to[c * stride + i] = values[c];
    }
  }

 private:
  // One or two rows of a patch, of plane 0, at the first input that is needed.
  struct Rows {
    const T* at[2];
    A weights[2];
    int taps;
    int64_t plane;  // from one plane to the next
  };

  // What pixels() keeps; `bytes` in all.
  struct Scratch {
    Scratch(const StitcherOf& s, char* memory, int64_t count) {
      const int64_t widest = s.source_pixels(count);
      const int64_t c = s.patches_.c;
      source = take<A>(memory, widest + kRowPadding);
      resized = take<A>(memory, count + kAlign + kRowPadding);
      this->count = take<A>(memory, count);
      total = take<A>(memory, count * c);
      gathered = take<T>(memory, s.gathers() ? 2 * widest * c : 0);
      bytes = std::max(bytes, s.point_bytes());
    }
    template <class Item>
    Item* take(char* memory, int64_t items) {
      Item* result = reinterpret_cast<Item*>(memory ? memory + bytes : nullptr);
      bytes += (items * static_cast<int64_t>(sizeof(Item)) + 63) / 64 * 64;
      return result;
    }
    int64_t bytes = 0;
    A *source, *resized, *count, *total;
    T* gathered;
  };

  bool gathers() const { return from_logits_ || !patches_.planar(); }
  // The most inputs that `count` outputs reach over, with those before and after them that share their vectors.
  int64_t source_pixels(int64_t count) const {
    return std::min(patches_.w, static_cast<int64_t>(shrinking_ * static_cast<double>(count + 2 * kAlign)) + 3);
  }
  // The pixel's values; inputs, as pixels and as planes; the same in A twice, and the sum.
  int64_t point_bytes() const {
    const int64_t values = patches_.c * static_cast<int64_t>(sizeof(T));
    const int64_t wide = (kNeighbours * patches_.c + kRowPadding) * static_cast<int64_t>(sizeof(A));
    return round64(values) + 2 * round64(kNeighbours * values) + 3 * round64(wide);
  }
  static int64_t round64(int64_t bytes) { return (bytes + 63) / 64 * 64; }

  static bool covers(const Band<A>& band, int64_t begin, int64_t end) {
    for (const PixelRange& range : band.covered) {
      if (range.begin <= begin && end <= range.end) return true;
    }
    return false;
  }

  BilinearTap<A> row_tap(const Place<A>& place, int64_t y) const {
    return bilinear_tap<A>(y - place.box.y0, patches_.h, place.box.y1 - place.box.y0);
  }

  Rows find_rows(const Place<A>& place, int64_t y, int64_t first, int64_t n, T* gathered) const {
    const BilinearTap<A> tap = row_tap(place, y);
    const int64_t begin = place.plan->input_begin(first), width = place.plan->input_end(first + n - 1) - begin;
    Rows rows{{reinterpret_cast<const T*>(patches_.at(place.patch, tap.low, begin)),
               reinterpret_cast<const T*>(patches_.at(place.patch, tap.high, begin))},
              {A(1) - tap.weight, tap.weight},
              tap.weight == A(0) ? 1 : 2,
              patches_.sc};
    if (!gathers()) return rows;
    rows.plane = width;
    for (int k = 0; k < rows.taps; ++k) {
      T* to = gathered + k * width * patches_.c;
      load_tile(patches_, place.patch, k == 0 ? tap.low : tap.high, begin, width, to, width);
      if (from_logits_) softmax_planes(patches_.type, to, width, patches_.c, width);
      rows.at[k] = to;
    }
    if (rows.taps == 1) rows.at[1] = rows.at[0];
    return rows;
  }

  static const Place<A>* find(const Band<A>& band, int64_t x) {
    for (const Place<A>* place : band.places) {
      if (x >= place->columns.begin && x < place->columns.end) return place;
    }
    return nullptr;
  }

  // The pixel of the patch that (y, x) is, where it is one; else null.
  const T* unchanged(const Place<A>& place, int64_t y, int64_t x) const {
    if (from_logits_ || !place.plan->shift || patches_.h != place.box.y1 - place.box.y0) return nullptr;
    return reinterpret_cast<const T*>(patches_.at(place.patch, y - place.box.y0, x - place.box.x0));
  }

  // The classes of one pixel to the beginning of `memory`.
  void point(const Band<A>& band, int64_t y, int64_t x, char* memory) const {
    const int64_t c = patches_.c, values = c * static_cast<int64_t>(sizeof(T));
    const int64_t wide = round64((kNeighbours * c + kRowPadding) * static_cast<int64_t>(sizeof(A)));
    T* result = reinterpret_cast<T*>(memory);
    T* pixels = reinterpret_cast<T*>(memory += round64(values));
    T* planes = reinterpret_cast<T*>(memory += round64(kNeighbours * values));
    A* source = reinterpret_cast<A*>(memory += round64(kNeighbours * values));
    A* resized = reinterpret_cast<A*>(memory += wide);
    A* total = reinterpret_cast<A*>(memory += wide);
    A covers = A(0);
    std::fill_n(total, c, kNothing<A>);
    std::fill_n(result, c, T{});
    std::fill_n(planes, kNeighbours * c, T{});
    for (const Place<A>* place : band.places) {
      if (x < place->columns.begin || x >= place->columns.end) continue;
      covers += A(1);
      const ColumnPlan<A>& plan = *place->plan;
      const BilinearTap<A> tap = row_tap(*place, y);
      const int64_t output = x - place->columns.begin, begin = plan.input_begin(output);
      const int64_t width = plan.input_end(output) - begin;  // 1 or 2
      const int taps = tap.weight == A(0) ? 1 : 2;
      const A weights[2] = {A(1) - tap.weight, tap.weight};
      for (int k = 0; k < taps; ++k) {
        for (int64_t j = 0; j < width; ++j) {
          const T* from = reinterpret_cast<const T*>(patches_.at(place->patch, k == 0 ? tap.low : tap.high, begin + j));
          for (int64_t i = 0; i < c; ++i) planes[i * kNeighbours + 2 * k + j] = from[i * patches_.sc];
        }
      }
      if (from_logits_) softmax_planes(patches_.type, planes, kNeighbours, c, kNeighbours);
      for (int64_t j = 0; j < kNeighbours; ++j) {
        for (int64_t i = 0; i < c; ++i) pixels[j * c + i] = planes[i * kNeighbours + j];
      }
      const T* rows[2] = {pixels, pixels + 2 * c};
      stitch_part<T>(run_, plan, output, 1, c, rows, weights, taps, {source, resized}, 0, result,
                     band.overlap ? total : nullptr);
    }
    if (band.overlap) run_.divide(total, &covers, 1, c, result);
  }

  Map patches_;
  int64_t width_;
  bool from_logits_;
  Resampler<T> run_;
  std::vector<Places<A>> images_;
  double shrinking_ = 1.0;  // the most inputs for an output
};

}  // namespace

std::unique_ptr<Stitcher> make_stitcher(const Map& patches, const std::vector<Box>& boxes, int64_t images,
                                        int64_t height, int64_t width, bool from_logits) {
  std::unique_ptr<Stitcher> result;
  visit_element(patches.type, [&](auto zero) {
    result = std::make_unique<StitcherOf<decltype(zero)>>(patches, boxes, images, height, width, from_logits);
  });
  return result;
}

}  // namespace magnet
