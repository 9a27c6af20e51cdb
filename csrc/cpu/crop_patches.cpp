// crop_patches: RoIAlign with adaptive sampling, one axis after the other.
#include "binding/patch_arguments.h"
#include "common/roi_align.h"
#include "cpu/parts/layout.h"
#include "cpu/parts/resample.h"

namespace magnet {
namespace {

template <class A>
AxisTaps<A> roi_taps(double start, double end, int64_t size, int64_t output_size, bool aligned) {
  const RoiAxis axis = roi_axis(static_cast<A>(start), static_cast<A>(end), output_size, aligned);
  AxisTaps<A> taps;
  taps.first.resize(output_size);
  taps.offset.assign(output_size + 1, 0);
  std::vector<double> sums;  // consecutive samples are at most one pixel apart: what they touch has no gaps
  for (int64_t i = 0; i < output_size; ++i) {
    sums.clear();
    int64_t first = 0;
    for (int64_t s = 0; s < axis.samples; ++s) {
      const RoiSample sample = roi_sample(axis, i, s, size);
      if (!sample.inside) continue;
      if (sums.empty()) first = sample.low;
      if (sums.size() < static_cast<size_t>(sample.high - first + 1)) sums.resize(sample.high - first + 1, 0.0);
      sums[sample.low - first] += (1.0 - sample.weight) / static_cast<double>(axis.samples);
      sums[sample.high - first] += sample.weight / static_cast<double>(axis.samples);
    }
    const auto unread = [](double weight) { return static_cast<A>(weight) == A(0); };
    while (!sums.empty() && unread(sums.back())) sums.pop_back();
    size_t skip = 0;
    while (skip < sums.size() && unread(sums[skip])) ++skip;
    taps.first[i] = first + static_cast<int64_t>(skip);
    for (size_t k = skip; k < sums.size(); ++k) taps.weight.push_back(static_cast<A>(sums[k]));
    taps.offset[i + 1] = static_cast<int64_t>(taps.weight.size());
  }
  return taps;
}

// What a worker keeps of the box it is at: the taps of its rows, the plan of its columns.
template <class A>
struct Crop {
  int64_t box = -1;
  AxisTaps<A> rows;
  int64_t begin = 0, end = 0;              // output columns that have inputs
  int64_t input_begin = 0, input_end = 0;  // input columns that are read
  ColumnPlan<A> columns;

  void set(int64_t index, const Box& b, int64_t h, int64_t w, int64_t output_h, int64_t output_w, bool aligned) {
    if (box == index) return;
    box = index;
    rows = roi_taps<A>(b[2], b[4], h, output_h, aligned);
    const AxisTaps<A> taps = roi_taps<A>(b[1], b[3], w, output_w, aligned);
    begin = 0, end = output_w;
    while (begin < end && taps.count(begin) == 0) ++begin;
    while (end > begin && taps.count(end - 1) == 0) --end;
    if (begin == end) return;
    input_begin = taps.first[begin];
    input_end = taps.first[end - 1] + taps.count(end - 1);
    columns = column_plan(taps, begin, end - begin, input_begin);
  }
};

template <class T>
void crop(const Map& x, const std::vector<Box>& boxes, const Map& out, bool pixels, bool aligned) {
  using A = Wide<T>;
  const int64_t inner = pixels ? x.c : 1, planes = pixels ? 1 : x.c;
  const Resampler<T> run = resampler<T>();
  // A row of the map, one of the patch; the pointers to and weights of the rows that are summed stay with the taps.
  const int64_t row_bytes = (x.w * inner + kRowPadding) * sizeof(A), items = out.n * planes;
  const int64_t bands = std::clamp<int64_t>(4 * worker_count(1 << 20) / std::max<int64_t>(items, 1), 1, out.h);
  const int64_t band_rows = (out.h + bands - 1) / bands;
  const int64_t workers = worker_count(items * bands);
  Workspace space(workers, row_bytes + out.w * inner * sizeof(A));
  std::vector<Crop<A>> crops(workers);
  std::vector<std::vector<const T*>> pointers(workers);
  for_each_item(items * bands, [&](int64_t worker, int64_t item) {
    const int64_t band = item % bands, plane = item / bands % planes, p = item / bands / planes;
    Crop<A>& crop = crops[worker];
    crop.set(p, boxes[p], x.h, x.w, out.h, out.w, aligned);
    A* row = reinterpret_cast<A*>(space.of(worker));
    A* resampled = reinterpret_cast<A*>(space.of(worker) + row_bytes);
    const T* source = reinterpret_cast<const T*>(x.data) + static_cast<int64_t>(boxes[p][0]) * x.sn + plane * x.sc;
    T* target = reinterpret_cast<T*>(out.data) + p * out.sn + plane * out.sc;
    const int64_t n = crop.end - crop.begin;
    for (int64_t y = band * band_rows; y < std::min(out.h, (band + 1) * band_rows); ++y) {
      T* to = target + y * out.sh;
      const int64_t taps = crop.rows.count(y);
      if (taps == 0 || n < out.w) std::memset(static_cast<void*>(to), 0, out.w * inner * sizeof(T));
      if (taps == 0 || n == 0) continue;
      to += crop.begin * inner;
      const A* weights = crop.rows.weight.data() + crop.rows.offset[y];
      const T* from = source + crop.rows.first[y] * x.sh + crop.input_begin * inner;
      if (crop.columns.shift && taps == 1 && weights[0] == A(1)) {
        std::memcpy(static_cast<void*>(to), from, n * inner * sizeof(T));
        continue;
      }
      std::vector<const T*>& rows = pointers[worker];
      rows.resize(taps);
      for (int64_t k = 0; k < taps; ++k) rows[k] = from + k * x.sh;
      run.combine(rows.data(), weights, taps, (crop.input_end - crop.input_begin) * inner, row);
      if constexpr (std::is_same_v<A, T>) {
        run.columns(row, 0, crop.columns, 0, n, inner, to);
      } else {
        run.columns(row, 0, crop.columns, 0, n, inner, resampled);
        run.narrow(resampled, n * inner, to);
      }
    }
  });
}

Tensor crop_patches(const Tensor& x, const Tensor& boxes, int64_t height, int64_t width, bool aligned) {
  const std::vector<Box> list = read_crop_arguments(x, boxes, height, width);
  const bool channels_last = is_channels_last(x);
  Tensor result = new_large_map(x, boxes.size(0), x.size(1), height, width, channels_last);
  if (result.numel() == 0) return result;
  check_not_empty(x.size(2), x.size(3), "x");
  const Tensor dense = with_dense_rows(x);
  const Map map = view(dense, "x"), out = view(result, "result");
  visit_element(map.type, [&](auto zero) { crop<decltype(zero)>(map, list, out, channels_last, aligned); });
  return result;
}

}  // namespace
}  // namespace magnet

STABLE_TORCH_LIBRARY_FRAGMENT(magnet_kernels, m) {
  m.def("crop_patches(Tensor x, Tensor boxes, SymInt height, SymInt width, bool aligned) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(magnet_kernels, CPU, m) { m.impl("crop_patches", TORCH_BOX(&magnet::crop_patches)); }
