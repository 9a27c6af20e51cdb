#include "cuda/replace_points.h"
#include "cuda/select_points.h"
#include "cuda/select_points_candidates.cuh"
#include "cuda/select_points_digits.cuh"
#include "cuda/select_points_image.cuh"
#include "cuda/select_points_keys.cuh"
#include "cuda/select_points_tiles.cuh"

namespace magnet::cuda {
namespace {

template <class T>
ScoreView<T> view_scores(const Map& scores) {
  const bool one_row = scores.one_row();
  const int64_t step = as_one_row(scores).sw;
  const bool vectors = one_row && (step == 1 || scores.h * scores.w == 1) && (scores.n == 1 || scores.sn % 4 == 0) &&
                       reinterpret_cast<uintptr_t>(scores.data) % (4 * sizeof(T)) == 0;
  return {global<const T>(scores.data, extent(scores)), scores.sn, scores.sh, scores.sw, vectors};
}

int64_t blocks_for(int64_t items, int64_t of_block) { return (items + of_block - 1) / of_block; }

template <class Key>
void list_images(const Selection& s, const Stream& stream) {
  const auto run = [&](auto kernel, int threads) {
    launch_after(true, "list_image", kernel, s.n, threads, stream,
                 global<const Key>(s.workspace + Workspace(s).keys, s.n * s.pitch()),
                 global<int64_t>(s.points, s.n * s.k), s.pixels(), s.pitch(), static_cast<uint32_t>(s.k));
  };
  if (s.pixels() <= 4096) return run(list_image<Key, 256>, 256);
  run(list_image<Key, 1024>, 1024);
}

void count_all_candidates(const Selection& s, const Stream& stream) {
  const auto run = [&](const char* name, auto kernel, int threads, int64_t tile) {
    const int64_t blocks = blocks_for(s.pixels(), tile);
    launch_after(true, name, kernel, s.n * blocks, threads, stream, select_tables(s), static_cast<uint32_t>(blocks));
  };
  if (s.counts_at_once()) {
    return run("count_candidates", count_candidates<kCandidateThreads>, kCandidateThreads, kCandidateTile);
  }
  run("count_digit", count_digit<false>, kDigitThreads, kDigitTile);
  run("count_digit", count_digit<true>, kDigitThreads, kDigitTile);
}

template <class T>
void list_and_replace(const Selection& s, const ReplaceMaps<T>& maps, const Stream& stream) {
  launch_after(true, "list_tiles", list_tiles<T>, s.n * s.tiles(), kTileThreads, stream, select_tables(s),
               s.counts_at_once(), global<int64_t>(s.points, s.n * s.k), static_cast<uint32_t>(s.tiles()), maps);
}

}  // namespace

void make_keys(const Selection& s, const Map& scores, bool follows, const Stream& stream) {
  if (s.wide) {
    const int64_t blocks = blocks_for(s.pixels(), kKeyThreads);
    launch_after(follows, "make_wide_keys", make_wide_keys<double>, s.n * blocks, kKeyThreads, stream,
                 view_scores<double>(scores), view_of(s.valid, s.n, s.h, s.w),
                 global<uint64_t>(s.workspace + Workspace(s).keys, s.n * s.pitch()), s.pixels(), s.pitch(), s.w,
                 static_cast<uint32_t>(blocks));
    return;
  }
  // Blocks that count have tables to clear and to add up: as many as run at once, with several tiles each.
  const int64_t tiles = blocks_for(s.pixels(), 4 * kKeyThreads * kKeyLoads);
  const int64_t enough = 8 * multiprocessors(stream), blocks = s.block_an_image() || tiles < enough ? tiles : enough;
  const KeySink sink = key_sink(s);
  const auto run = [&]<class T>(T) {
    launch_after(follows, "make_keys", make_keys_kernel<T>, s.n * blocks, kKeyThreads, stream, view_scores<T>(scores),
                 sink, static_cast<uint32_t>(blocks));
  };
  if (scores.type == Element::f32) run(float{});
  if (scores.type == Element::f16) run(Half{});
  if (scores.type == Element::bf16) run(BFloat16{});
}

void list_points(const Selection& s, const Map* from, const Map* to, const Stream& stream) {
  if (s.block_an_image()) {
    s.wide ? list_images<uint64_t>(s, stream) : list_images<uint32_t>(s, stream);
    if (to) replace_pixels(*from, *to, {s.points, s.k, s.k, 1}, true, stream);
    return;
  }
  count_all_candidates(s, stream);
  if (!to) return list_and_replace(s, ReplaceMaps<uint32_t>{}, stream);
  const ReplaceJob job(*from, *to);
  if (job.item == 2) list_and_replace(s, job.maps<uint16_t>(), stream);
  if (job.item == 4) list_and_replace(s, job.maps<uint32_t>(), stream);
  if (job.item == 8) list_and_replace(s, job.maps<uint64_t>(), stream);
}

}  // namespace magnet::cuda
