#include "cuda/uncertainty_score.cuh"
#include "cuda/uncertainty_score.h"

namespace magnet::cuda {
namespace {

// The maps of a job as the grid sees them: images are rows where all maps allow it.
struct ScoreMaps {
  Map coarse, fine, valid, copy, raw;
  bool upsamples;

  explicit ScoreMaps(const ScoreJob& job)
      : coarse(job.coarse),
        fine(job.fine),
        valid{nullptr, Element::f32, fine.n, 1, fine.h, fine.w, job.valid.sn, 0, job.valid.sy, job.valid.sx},
        copy(job.copy.data ? job.copy : job.fine),
        raw(scores_like(job.raw, fine.n, fine.h, fine.w)),
        upsamples(coarse.h != fine.h || coarse.w != fine.w) {
    if (upsamples) return;
    if (!job.valid.data) valid = raw;
    flatten({&coarse, &fine, &valid, &copy, &raw});
  }
};

template <class T>
ScoreViews<T> views(const ScoreJob& job, const ScoreMaps& maps) {
  const ValidMap valid{job.valid.data, maps.valid.sn, maps.valid.sh, maps.valid.sw};
  Map copy = maps.copy;
  if (!job.copy.data) copy.data = nullptr;
  return {view_of<const T>(maps.coarse),
          view_of<const T>(maps.fine),
          view_of(valid, maps.fine.n, maps.fine.h, maps.fine.w),
          view_of<T>(copy),
          global<float>(job.raw, maps.fine.n * maps.fine.h * maps.fine.w),
          global<uint32_t>(job.zero, job.zero_bytes / 4),
          job.zero_bytes / 16};
}

template <class T, bool kLogits>
void run_pixels(const ScoreJob& job, const ScoreMaps& maps, const PixelTiles& tiles, const Stream& stream) {
  launch("score", score_pixels<T, kLogits>, tiles.blocks, PixelTiles::kThreads, stream, views<T>(job, maps), tiles);
}

template <class T, bool kLogits, int kN, int kClasses>
void run_planes(const ScoreJob& job, const ScoreMaps& maps, const Stream& stream) {
  const PixelGrid grid(maps.fine.n, maps.fine.h, maps.fine.w, kN, kScoreThreads);
  launch("score", score_planes<T, kLogits, kN, kClasses>, grid.n * grid.blocks, kScoreThreads, stream,
         views<T>(job, maps), grid);
}

template <class T, bool kLogits>
void run_upsampled(const ScoreJob& job, const ScoreMaps& maps, const Stream& stream) {
  if constexpr (sizeof(T) < 8) {
    if (doubles(maps.coarse, maps.fine.h, maps.fine.w)) {
      const PixelGrid grid(maps.fine.n, maps.coarse.h + 1, maps.coarse.w, 1, kScoreThreads);
      return visit_flag(planes_aligned(maps.fine, 2), [&](auto pairs) {
        launch("score", score_doubled<T, kLogits, pairs.value>, grid.n * grid.blocks, kScoreThreads, stream,
               views<T>(job, maps), grid, planes_aligned(maps.copy, 2));
      });
    }
  }
  const PixelGrid grid(maps.fine.n, maps.fine.h, maps.fine.w, 1, kScoreThreads);
  launch("score", score_upsampled<T, kLogits>, grid.n * grid.blocks, kScoreThreads, stream, views<T>(job, maps), grid);
}

template <class T, bool kLogits>
void run(const ScoreJob& job, const ScoreMaps& maps, const Stream& stream) {
  if (maps.upsamples) return run_upsampled<T, kLogits>(job, maps, stream);
  const PixelTiles tiles(maps.fine);
  if (tiles.pixels > 0 && pixels_dense(maps.coarse) && pixels_dense(maps.fine) && pixels_dense(maps.copy)) {
    return run_pixels<T, kLogits>(job, maps, tiles, stream);
  }
  if constexpr (sizeof(T) < 8) {
    constexpr int kN = kPixelsAThread<T, kLogits>;
    if (planes_aligned(maps.coarse, kN) && planes_aligned(maps.fine, kN) && planes_aligned(maps.copy, kN) &&
        planes_aligned(maps.raw, 4)) {
      return visit_classes(maps.fine.c,
                           [&](auto classes) { run_planes<T, kLogits, kN, classes.value>(job, maps, stream); });
    }
  }
  run_planes<T, kLogits, 1, 0>(job, maps, stream);
}

}  // namespace

void score(const ScoreJob& job, const Stream& stream) {
  if (job.fine.n * job.fine.h * job.fine.w == 0) return;
  const ScoreMaps maps(job);
  visit_element(job.fine.type, [&](auto zero) {
    visit_flag(job.from_logits, [&](auto logits) { run<decltype(zero), logits.value>(job, maps, stream); });
  });
}

}  // namespace magnet::cuda
