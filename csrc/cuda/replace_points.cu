#include "cuda/replace_points.cuh"
#include "cuda/replace_points.h"

namespace magnet::cuda {

void replace_pixels(const Map& from, const Map& to, const PointList& points, bool follows, const Stream& stream) {
  if (from.n * from.c * from.h * from.w * points.k == 0) return;
  if (from.h * from.w > INT32_MAX) throw std::invalid_argument("H * W: expected less than 2**31 pixels an image");
  const ReplaceJob job(from, to);
  const int64_t chunks = (points.k + kReplaceChunk - 1) / kReplaceChunk;
  const int64_t elements = (from.n - 1) * points.sn + (points.k - 1) * points.sk + 1;
  const PointView list{global<const int64_t>(points.data, elements), points.k, points.sn, points.sk};
  const auto run = [&]<class T>(T) {
    launch_after(follows, "replace_points", replace_points<T>, from.n * chunks, kReplaceThreads, stream, job.maps<T>(),
                 list, static_cast<uint32_t>(chunks));
  };
  if (job.item == 2) run(uint16_t{});
  if (job.item == 4) run(uint32_t{});
  if (job.item == 8) run(uint64_t{});
}

}  // namespace magnet::cuda
