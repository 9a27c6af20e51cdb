#include <algorithm>

#include "cuda/parts/pixels.h"
#include "cuda/refine_stage.cuh"

namespace magnet::cuda {
namespace {

int64_t blocks_for(int64_t items, int64_t of_block) { return (items + of_block - 1) / of_block; }

template <class T, bool kLogits>
PatchViews<T, kLogits> patch_views(const StageJob& job, const StageMemory& memory, const Stream& stream) {
  const int64_t sums = kLogits ? job.patches.n * job.patches.h * job.patches.w * 2 : 0;
  return {view_of<const T>(job.patches), list_of<kFewRects>(job.boxes, job.workspace + memory.boxes, stream),
          global<const Wide<T>>(kLogits ? job.workspace + memory.sums : nullptr, sums)};
}

template <bool kLabels, bool kDoubled, class T, bool kLogits>
void launch_scores(const StageViews<T, kLogits>& views, int64_t n, const Stream& stream) {
  const int64_t tiles_x = blocks_for(views.w, kStageTileColumns);
  const int64_t tiles_y = blocks_for(views.h + (kDoubled ? 1 : 0), kStageTileRows);
  launch("stage_scores", stage_scores<T, kLogits, kLabels, kDoubled>, n * tiles_y * tiles_x, kStageThreads, stream,
         views, static_cast<uint32_t>(tiles_x), static_cast<uint32_t>(tiles_y));
}

template <class T, bool kLogits, bool kLabels>
void score(const StageJob& job, const Selection& selection, bool scored, const Stream& stream) {
  const StageMemory memory(job, selection, scored);
  const int64_t pixels = selection.n * selection.pixels(), scores = scored ? pixels : 0;
  StageViews<T, kLogits> views{};
  views.coarse = view_of<const T>(job.coarse);
  views.h = static_cast<int32_t>(job.h);
  views.w = static_cast<int32_t>(job.w);
  if (kLabels) {
    views.labels = global<uint8_t>(job.labels, pixels);
  } else {
    views.refined = view_of<T>(job.refined);
    views.pairs = planes_aligned(job.refined, 2);
  }
  if (scored) {
    views.patches = patch_views<T, kLogits>(job, memory, stream);
    views.rows = job.w % kRowPixels == 0 && planes_aligned(job.patches, kRowPixels) &&
                 (!kLogits || job.patches.w % kRowPixels == 0);
    views.raw = global<float>(job.workspace + memory.raw, scores);
    views.covered = global<bool>(job.workspace + memory.covered, scores);
    if (kLabels) views.fine_labels = global<uint8_t>(job.workspace + memory.fine_labels, scores);
    const int64_t zeros = Workspace(selection).zero_bytes;
    views.zero = global<uint32_t>(job.workspace, zeros / 4);
    views.zero_count = zeros / 16;
    if (kLogits && job.patches.n > 0) {
      const int64_t blocks = blocks_for(job.patches.h * job.patches.w, kStageThreads);
      launch("stage_softmax", stage_softmax<T>, job.patches.n * blocks, kStageThreads, stream,
             view_of<const T>(job.patches),
             global<Wide<T>>(job.workspace + memory.sums, job.patches.n * job.patches.h * job.patches.w * 2),
             static_cast<uint32_t>(blocks));
    }
  }
  // Where the coordinates are exact in float.
  const bool doubled = job.h == 2 * job.coarse.h && job.w == 2 * job.coarse.w && std::max(job.h, job.w) < (1 << 22);
  if (doubled && sizeof(T) < 8) {
    if constexpr (sizeof(T) < 8) launch_scores<kLabels, true>(views, selection.n, stream);
  } else {
    launch_scores<kLabels, false>(views, selection.n, stream);
  }
}

template <class T, bool kLogits>
void replace(const StageJob& job, const Selection& selection, const Stream& stream) {
  const int64_t blocks = blocks_for(selection.k, kStageThreads), groups = blocks_for(job.refined.c, kReplacePlanes);
  launch("stage_replace", stage_replace<T, kLogits>, selection.n * groups * blocks, kStageThreads, stream,
         patch_views<T, kLogits>(job, StageMemory(job, selection, true), stream), view_of<T>(job.refined),
         global<const int64_t>(selection.points, selection.n * selection.k), static_cast<uint32_t>(selection.k),
         static_cast<uint32_t>(blocks));
}

}  // namespace

void launch_stage_scores(const StageJob& job, const Selection& selection, bool scored, const Stream& stream) {
  visit_element(job.coarse.type, [&](auto zero) {
    using T = decltype(zero);
    const bool labels = job.refined.data == nullptr;
    const auto run = job.from_logits ? (labels ? score<T, true, true> : score<T, true, false>)
                                     : (labels ? score<T, false, true> : score<T, false, false>);
    run(job, selection, scored, stream);
  });
}

void launch_stage_replace(const StageJob& job, const Selection& selection, const Stream& stream) {
  if (job.patches.n == 0) return;  // all points are -1
  if (job.refined.data == nullptr) {
    constexpr int kThreads = 256;
    const int64_t blocks = blocks_for(selection.k, kThreads), pixels = selection.pixels();
    const StageMemory memory(job, selection, true);
    launch("stage_replace_labels", stage_replace_labels<kThreads>, selection.n * blocks, kThreads, stream,
           global<const uint8_t>(job.workspace + memory.fine_labels, selection.n * pixels),
           global<uint8_t>(job.labels, selection.n * pixels),
           global<const int64_t>(selection.points, selection.n * selection.k), static_cast<uint32_t>(selection.k),
           static_cast<uint32_t>(blocks), pixels);
    return;
  }
  visit_element(job.coarse.type, [&](auto zero) {
    using T = decltype(zero);
    job.from_logits ? replace<T, true>(job, selection, stream) : replace<T, false>(job, selection, stream);
  });
}

}  // namespace magnet::cuda
