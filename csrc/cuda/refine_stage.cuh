// A whole scale of refinement, before and after the selection. A thread upsamples coarse and stitches the patches for a
// pixel, class by class, in registers: of the two larger maps only coarse's is ever written, and only where it is asked
// for. At the chosen points the patches are stitched once more.
#pragma once

#include "cuda/parts/patch_sources.cuh"
#include "cuda/parts/touch_list.cuh"
#include "cuda/parts/upsampled.cuh"
#include "cuda/refine_stage.h"

namespace magnet::cuda {

constexpr int kStageThreads = 256;
constexpr int kStageTileColumns = 64, kStageTileRows = 16;
constexpr int kReplacePlanes = 10;  // that a thread replaces at a point

// For every pixel of the patches what makes its logits probabilities.
template <class T>
MAGNET_KERNEL(kStageThreads, 64, 4)
void stage_softmax(View<const T> patches, Global<Wide<T>> sums, uint32_t blocks_of_patch) {
  using A = Wide<T>;
  constexpr int kPlanes = 8;
  constexpr A kLowest = std::is_same_v<A, double> ? A(-1e308) : A(-3e38);  // instead of -inf: keeps differences numbers
  const uint32_t patch = blockIdx.x / blocks_of_patch, width = static_cast<uint32_t>(patches.w);
  const uint32_t pixel = (blockIdx.x - patch * blocks_of_patch) * kStageThreads + threadIdx.x;
  if (pixel >= static_cast<uint32_t>(patches.h) * width) return;
  const int64_t y = pixel / width, x = pixel % width;
  const auto power = [](A difference) {
    if constexpr (std::is_same_v<A, double>) {
      return exp(difference);
    } else {
      return exp2_fast(difference * 1.44269504f);
    }
  };
  Global<const T> at = opaque(patches.data + patches.offset(patch, y, x));
  A highest = kLowest, sum = A(0);
#pragma unroll 1
  for (int64_t c = 0; c < patches.c; c += kPlanes) {
    A values[kPlanes], next = highest;
#pragma unroll
    for (int k = 0; k < kPlanes; ++k) {
      values[k] = A(-__builtin_inff());
      if (c + k < patches.c) values[k] = widen(T(at[0]));
      at = opaque(at + patches.sc);
    }
#pragma unroll
    for (int k = 0; k < kPlanes; ++k) next = values[k] > next ? values[k] : next;  // a NaN comes with the sum
    sum *= power(highest - next);
#pragma unroll
    for (int k = 0; k < kPlanes; ++k) sum += power(values[k] - next);
    highest = next;
  }
  Pack<A, 2> pair;
  pair.value[0] = highest;
  pair.value[1] = A(1) / sum;
  store(sums + ((patch * patches.h + y) * patches.w + x) * 2, pair);
}

// What is kept of the classes of a pixel: the two highest values and, where asked for, the class of the highest, which
// is the first of several, and the first NaN before all.
template <class T, bool kLabels>
struct Running {
  float first = -__builtin_inff(), second = -__builtin_inff();
  double best = -__builtin_inf();  // of doubles, which `first` cannot tell apart
  int label = 0;

  // Classes from `plane` on.
  template <int kPlanes>
  MAGNET_DEVICE void take(const Wide<T> (&values)[kPlanes], int plane) {
    int highest = -1;
#pragma unroll
    for (int k = 0; k < kPlanes; ++k) {
      const float x = static_cast<float>(values[k]) + 0.0f;  // -0 equals 0
      const float next = max_nan(first, x);
      second = fmaxf(second, fminf(first, x));
      if constexpr (kLabels && std::is_same_v<T, double>) {
        if (values[k] > best || (values[k] != values[k] && best == best)) {
          best = values[k];
          highest = k;
        }
      } else if constexpr (kLabels) {
        if (float_bits(next) != float_bits(first)) highest = k;  // once it is NaN it stays
      }
      first = next;
    }
    if (kLabels && highest >= 0) label = plane + highest;
  }
  MAGNET_DEVICE float confidence() const { return margin_of(first, second); }
};

// Goes through the classes of a source (see margin.cuh), kMost loads of it at a time; put(class, values) sees them.
template <int kMost, class Source, class T, bool kLabels, class Put>
MAGNET_DEVICE void scan(Source& source, int classes, Running<T, kLabels> (&state)[Source::kPixels], const Put& put) {
  constexpr int kN = Source::kPixels;
#pragma unroll 1
  for (int c = 0; c < classes; c += kMost) {
    Pack<T, kN> x[kMost];
    if (c + kMost <= classes) {
#pragma unroll
      for (int k = 0; k < kMost; ++k) x[k] = source.next();
    } else {
#pragma unroll
      for (int k = 0; k < kMost; ++k) {
        if (c + k < classes) {
          x[k] = source.next();
        } else {
#pragma unroll
          for (int i = 0; i < kN; ++i) x[k].value[i] = narrow<T>(-__builtin_inff());
        }
      }
    }
#pragma unroll
    for (int k = 0; k < kMost; ++k) {
      if (c + k < classes) put(c + k, x[k]);
    }
#pragma unroll
    for (int i = 0; i < kN; ++i) {
      Wide<T> values[kMost];
#pragma unroll
      for (int k = 0; k < kMost; ++k) values[k] = widen(x[k].value[i]);
      state[i].take(values, c);
    }
  }
}

template <class T, bool kLogits>
struct StageViews {
  View<const T> coarse;
  PatchViews<T, kLogits> patches;
  int32_t h, w;
  bool rows;   // w and the patches allow a thread kRowPixels neighbours at once
  bool pairs;  // and refined allows two to be stored at once
  View<T> refined;
  Global<uint8_t> labels, fine_labels;
  Global<float> raw;  // null: nothing is scored
  Global<bool> covered;
  Global<uint32_t> zero;
  int64_t zero_count;  // of 16 bytes each
};

constexpr int kRowPixels = 4;  // neighbours that a thread scores at once where it can

// Makes coarse larger at the pixels of a warp, two rows of a tile: what it gives is stored, confidences stay in shared
// memory. kDoubled: to exactly twice the size, by 2 x 2 pixels a thread; tiles begin one pixel higher.
template <bool kLabels, bool kDoubled, class T, bool kLogits>
MAGNET_DEVICE void stage_coarse(const StageViews<T, kLogits>& job, int32_t image, int32_t top, int32_t left,
                                Shared<float> confidences) {
  const int classes = static_cast<int>(job.coarse.c), lane = threadIdx.x % 32;
  if constexpr (kDoubled) {
    const int32_t qx = left / 2 + lane, qy = (top + 1) / 2;
    if (qx >= job.coarse.w || qy > job.coarse.h) return;
    UpsampledSquare<T> source(job.coarse, image, qy, qx);
    Running<T, kLabels> state[4];
    const bool inside[2] = {qy > 0, qy < job.coarse.h};
    if constexpr (kLabels) {
      scan<4>(source, classes, state, [](int, const Pack<T, 4>&) {});
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int64_t pixel = (static_cast<int64_t>(image) * job.h + top + i) * job.w + 2 * qx;
        const Pack<uint8_t, 2> pair{
            {static_cast<uint8_t>(state[2 * i].label), static_cast<uint8_t>(state[2 * i + 1].label)}};
        if (inside[i]) store<2>(job.labels + pixel, pair);
      }
    } else {
      CopySquare<T> copy(job.refined, image, qy, qx, inside[0], inside[1], job.pairs);
      scan<kSquaresInFlight>(source, classes, state, [&](int, const Pack<T, 4>& x) { copy.put(x); });
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      store<2>(confidences + i * kStageTileColumns + 2 * lane,
               Pack<float, 2>{{state[2 * i].confidence(), state[2 * i + 1].confidence()}});
    }
  } else {
#pragma unroll 1
    for (int at = lane; at < 2 * kStageTileColumns; at += 32) {
      const int32_t x = left + at % kStageTileColumns, y = top + at / kStageTileColumns;
      if (x >= job.w || y >= job.h) continue;
      Upsampled<T> source(job.coarse, image, y, x, job.h, job.w);
      Running<T, kLabels> state[1];
      if constexpr (kLabels) {
        scan<4>(source, classes, state, [](int, const Pack<T, 1>&) {});
        job.labels[(static_cast<int64_t>(image) * job.h + y) * job.w + x] = static_cast<uint8_t>(state[0].label);
      } else {
        const int64_t to = job.refined.offset(image, y, x);
        scan<4>(source, classes, state,
                [&](int c, const Pack<T, 1>& x) { job.refined.data[to + c * job.refined.sc] = x.value[0]; });
      }
      confidences[at] = state[0].confidence();
    }
  }
}

// Scores kRowPixels neighbours from (y, x) on where no patch touches them, or one of its box's size alone lies on all
// of them. false: nothing is done, they are to be scored one by one.
template <bool kLabels, class T, bool kLogits, class List>
MAGNET_DEVICE bool stage_row(const StageViews<T, kLogits>& job, const List& list, int32_t image, int32_t y, int32_t x,
                             Shared<const float> confidences) {
  constexpr int kN = kRowPixels, kMost = sizeof(T) == 2 ? 7 : 5;  // planes in flight
  const auto& patches = job.patches;
  const RowCover cover(patches.boxes, list, Rect{image, x, y, x + kN, y + 1});
  const Rect& box = cover.box;
  const bool same_size = box.x1 - box.x0 == patches.map.w && box.y1 - box.y0 == patches.map.h;
  if (!cover.empty && !(cover.alone && same_size && (x - box.x0) % kN == 0)) return false;
  const int64_t pixel = (static_cast<int64_t>(image) * job.h + y) * job.w + x;
  Pack<float, kN> score{};
  Pack<bool, kN> covered{};
  if (!cover.empty) {
    PatchPoint<T, kLogits, kN> source(patches, cover.patch, y - box.y0, x - box.x0);
    Running<T, kLabels> state[kN];
    scan<kMost>(source, static_cast<int>(job.coarse.c), state, [](int, const Pack<T, kN>&) {});
    const Pack<float, kN> confidence = load<kN>(confidences);
#pragma unroll
    for (int i = 0; i < kN; ++i) {
      score.value[i] = uncertainty(confidence.value[i], state[i].confidence());
      covered.value[i] = true;
    }
    if constexpr (kLabels) {
      Pack<uint8_t, kN> labels;
#pragma unroll
      for (int i = 0; i < kN; ++i) labels.value[i] = static_cast<uint8_t>(state[i].label);
      store<kN>(job.fine_labels + pixel, labels);
    }
  }
  store<kN>(job.covered + pixel, covered);
  store<kN>(job.raw + pixel, score);
  return true;
}

template <bool kLabels, class T, bool kLogits, class List>
MAGNET_DEVICE void stage_pixel(const StageViews<T, kLogits>& job, const List& list, int32_t image, int32_t y, int32_t x,
                               float confidence) {
  const int64_t pixel = (static_cast<int64_t>(image) * job.h + y) * job.w + x;
  float fine = 0.0f;
  const bool covered = visit_patches(job.patches, list, image, y, x, [&](auto& source) {
    using Source = std::remove_reference_t<decltype(source)>;
    constexpr bool kPoint = std::is_same_v<Source, PatchPoint<T, kLogits>>;
    constexpr bool kPixel = std::is_same_v<Source, PatchPixel<T, kLogits>>;
    Running<T, kLabels> state[1];
    constexpr int kMost = kPoint ? (sizeof(T) < 8 ? 5 : 2) : kPixel && !kLogits ? 2 : 1;  // registers are few
    scan<kMost>(source, static_cast<int>(job.coarse.c), state, [](int, const Pack<T, 1>&) {});
    fine = state[0].confidence();
    if constexpr (kLabels) job.fine_labels[pixel] = static_cast<uint8_t>(state[0].label);
  });
  job.covered[pixel] = covered;
  job.raw[pixel] = covered ? uncertainty(confidence, fine) : 0.0f;
}

// A tile of 64 x 16 pixels a block, two rows of it a warp.
template <class T, bool kLogits, bool kLabels, bool kDoubled>
MAGNET_KERNEL(kStageThreads, 128, 2)
void stage_scores(StageViews<T, kLogits> job, uint32_t tiles_x, uint32_t tiles_y) {
  constexpr int kWarpPixels = 2 * kStageTileColumns, kTilePixels = kStageThreads / 32 * kWarpPixels;
  static_assert(kTilePixels == kStageTileColumns * kStageTileRows);
  MAGNET_SHARED(int32_t, touching, kStageThreads);
  MAGNET_SHARED(int32_t, touching_of_warps, kStageThreads / 32);
  MAGNET_SHARED(float, confidences, kTilePixels);
  let_next_kernel_begin();
  const int64_t threads = static_cast<int64_t>(gridDim.x) * kStageThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kStageThreads + threadIdx.x; i < job.zero_count; i += threads) {
    store<4>(job.zero + 4 * i, Pack<uint32_t, 4>{});
  }

  const int32_t tile_x = static_cast<int32_t>(blockIdx.x % tiles_x);
  const int32_t tile_y = static_cast<int32_t>(blockIdx.x / tiles_x % tiles_y);
  const int32_t image = static_cast<int32_t>(blockIdx.x / tiles_x / tiles_y);
  const int32_t left = tile_x * kStageTileColumns, top = tile_y * kStageTileRows - (kDoubled ? 1 : 0);
  const Rect where{image, left, top, left + kStageTileColumns, top + kStageTileRows};
  const TouchList<kStageThreads> list(job.patches.boxes, where, touching, touching_of_warps);

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int32_t first_row = top + 2 * warp;
  const Shared<float> of_warp = confidences + warp * kWarpPixels;
  stage_coarse<kLabels, kDoubled>(job, image, first_row, left, of_warp);
  if (job.raw == nullptr) return;
  __syncwarp();

  uint32_t done = 0;  // bit i: the pixels 4 i to 4 i + 3 of the warp
  if constexpr (sizeof(T) < 8) {
    if (job.rows) {
      const int at = lane * kRowPixels;
      const int32_t x = left + at % kStageTileColumns, y = first_row + at / kStageTileColumns;
      const bool inside = x < job.w && y >= 0 && y < job.h;
      done = __ballot_sync(0xffffffffu, inside && stage_row<kLabels>(job, list, image, y, x, of_warp + at));
    }
  }
#pragma unroll 1
  for (int at = lane; at < kWarpPixels; at += 32) {
    const int32_t x = left + at % kStageTileColumns, y = first_row + at / kStageTileColumns;
    if (done >> at / kRowPixels & 1 || x >= job.w || y < 0 || y >= job.h) continue;
    stage_pixel<kLabels>(job, list, image, y, x, of_warp[at]);
  }
}

// `planes` classes of a source to a point, kMost loads of it at a time.
template <int kMost, class Source, class T>
MAGNET_DEVICE void replace_planes(Source& source, Global<T> to, int64_t stride, int planes) {
#pragma unroll 1
  for (int c = 0; c < planes; c += kMost) {
    decltype(source.fetch()) fetched[kMost] = {};
#pragma unroll
    for (int k = 0; k < kMost; ++k) {
      if (c + k < planes) fetched[k] = source.fetch();
    }
#pragma unroll
    for (int k = 0; k < kMost; ++k) {
      if (c + k < planes) to[0] = source.finish(fetched[k]).value[0];
      to = opaque(to + stride);
    }
  }
}

// A thread takes kReplacePlanes classes of a point: few threads search the boxes, and one load after the other is asked
// for before the first has come.
template <class T, bool kLogits>
MAGNET_KERNEL(kStageThreads, 128, 2)
void stage_replace(PatchViews<T, kLogits> patches, View<T> refined, Global<const int64_t> points, uint32_t k,
                   uint32_t blocks_of_points) {
  const uint32_t groups = static_cast<uint32_t>((refined.c + kReplacePlanes - 1) / kReplacePlanes);
  const uint32_t some = blockIdx.x % blocks_of_points, group = blockIdx.x / blocks_of_points % groups;
  const int32_t image = static_cast<int32_t>(blockIdx.x / blocks_of_points / groups);
  const uint32_t i = some * kStageThreads + threadIdx.x;
  if (i >= k) return;
  const int64_t point = points[static_cast<int64_t>(image) * k + i];
  if (point < 0) return;
  const uint32_t width = static_cast<uint32_t>(refined.w);
  const int32_t y = static_cast<int32_t>(static_cast<uint32_t>(point) / width);
  const int32_t x = static_cast<int32_t>(static_cast<uint32_t>(point) % width);
  const int64_t c = static_cast<int64_t>(group) * kReplacePlanes;
  const int planes = static_cast<int>(refined.c - c < kReplacePlanes ? refined.c - c : kReplacePlanes);
  visit_patches(patches, AllBoxes{patches.boxes.count}, image, y, x, [&](auto& source) {
    using Source = std::remove_reference_t<decltype(source)>;
    constexpr bool kPoint = std::is_same_v<Source, PatchPoint<T, kLogits>>;
    constexpr bool kPixel = std::is_same_v<Source, PatchPixel<T, kLogits>>;
    constexpr int kOfPixel = sizeof(T) == 8 ? 1 : kLogits ? 2 : 5;  // registers are few
    constexpr int kMost = kPoint ? kReplacePlanes : kPixel ? kOfPixel : 1;
    source.skip(c);
    replace_planes<kMost>(source, opaque(refined.data + refined.offset(image, y, x) + c * refined.sc), refined.sc,
                          planes);
  });
}

template <int kThreads>
MAGNET_KERNEL(kThreads, 32)
void stage_replace_labels(Global<const uint8_t> fine, Global<uint8_t> labels, Global<const int64_t> points, uint32_t k,
                          uint32_t blocks_of_points, int64_t pixels) {
  const uint32_t image = blockIdx.x / blocks_of_points;
  const uint32_t i = (blockIdx.x - image * blocks_of_points) * kThreads + threadIdx.x;
  if (i >= k) return;
  const int64_t point = points[static_cast<int64_t>(image) * k + i];
  if (point >= 0) labels[image * pixels + point] = fine[image * pixels + point];
}

}  // namespace magnet::cuda
