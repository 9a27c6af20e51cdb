#include "cpu/parts/upsample.h"

#include "common/bilinear.h"
#include "cpu/parts/margins.h"
#include "cpu/parts/prefetch.h"
#include "cpu/parts/resample.h"
#include "cpu/parts/tiles.h"

namespace magnet {
namespace {

template <class T>
class UpsamplerOf : public Upsampler {
  using A = Wide<T>;

 public:
  UpsamplerOf(const Map& coarse, int64_t out_h, int64_t out_w)
      : coarse_(coarse), out_h_(out_h), run_(resampler<T>()), plan_(bilinear_plan<A>(0, out_w, coarse.w, out_w)) {}

  int64_t scratch_bytes(int64_t count) const override {
    const int64_t span = source_pixels(count);
    return row_bytes(span) + row_bytes(count) +
           (coarse_.planar() ? 0 : 2 * span * coarse_.c * static_cast<int64_t>(sizeof(T)));
  }

  void pixels(int64_t image, int64_t y, int64_t x, int64_t count, char* scratch, void* tile,
              int64_t stride) const override {
    const BilinearTap<A> tap = bilinear_tap<A>(y, coarse_.h, out_h_);
    const int64_t begin = plan_.input_begin(x), width = plan_.input_end(x + count - 1) - begin;
    const int64_t span = source_pixels(count);
    A* row = reinterpret_cast<A*>(scratch);
    A* resampled = reinterpret_cast<A*>(scratch + row_bytes(span));
    T* to = static_cast<T*>(tile);

    int64_t plane = coarse_.sc;
    const T* rows[2] = {reinterpret_cast<const T*>(coarse_.at(image, tap.low, begin)),
                        reinterpret_cast<const T*>(coarse_.at(image, tap.high, begin))};
    const A weights[2] = {A(1) - tap.weight, tap.weight};
    const int taps = tap.weight == A(0) ? 1 : 2;
    if (!coarse_.planar()) {
      T* gathered = reinterpret_cast<T*>(scratch + row_bytes(span) + row_bytes(count));
      plane = span;
      for (int k = 0; k < taps; ++k, gathered += span * coarse_.c) {
        load_tile(coarse_, image, k == 0 ? tap.low : tap.high, begin, width, gathered, span);
        rows[k] = gathered;
      }
    }
    const int seen = rows_seen<A>(y, coarse_.h, out_h_);
    for (int64_t c = 0; c < coarse_.c; ++c, to += stride) {
      const T* planes[2] = {rows[0] + c * plane, rows[1] + c * plane};
      if (c + kPlanesAhead < coarse_.c) {
        for (int k = seen; k < taps; ++k) prefetch(planes[k] + kPlanesAhead * plane, width * sizeof(T));
      }
      run_.combine(planes, weights, taps, width, row);
      if constexpr (std::is_same_v<A, T>) {
        run_.columns(row, begin, plan_, x, count, 1, to);
      } else {
        run_.columns(row, begin, plan_, x, count, 1, resampled);
        run_.narrow(resampled, count, to);
      }
    }
  }

 private:
  int64_t source_pixels(int64_t count) const { return std::min(count + 2, coarse_.w); }
  static int64_t row_bytes(int64_t pixels) {
    return (pixels + kRowPadding) * static_cast<int64_t>(sizeof(A)) / 64 * 64 + 64;
  }

  Map coarse_;
  int64_t out_h_;
  Resampler<T> run_;
  ColumnPlan<A> plan_;
};

}  // namespace

int64_t upsampled_pixels(const Map& map) {
  constexpr int64_t kBytes = 192 * 1024;
  const int64_t fitting = kBytes / (std::max<int64_t>(map.c, 1) * map.item());
  return std::clamp<int64_t>(fitting / 16 * 16, 64, kMarginBlock);
}

std::unique_ptr<Upsampler> make_upsampler(const Map& coarse, int64_t out_h, int64_t out_w) {
  std::unique_ptr<Upsampler> result;
  visit_element(coarse.type,
                [&](auto zero) { result = std::make_unique<UpsamplerOf<decltype(zero)>>(coarse, out_h, out_w); });
  return result;
}

}  // namespace magnet
