// Which boxes a block has to look at.
#pragma once

#include "cuda/parts/boxes.cuh"

namespace magnet::cuda {

// The boxes that touch the rectangle of a block, in their order: listed in shared memory where they fit, else all
// boxes.
template <int kThreads>
class TouchList {
 public:
  static constexpr int kWarps = kThreads / 32;

  // touching: kThreads long, of_warps: kWarps. All threads of the block; ends with a barrier.
  MAGNET_DEVICE TouchList(const Rects& boxes, const Rect& where, Shared<int32_t> touching, Shared<int32_t> of_warps)
      : touching_(touching) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int total = 0;
    for (int begin = 0; begin < boxes.count; begin += kThreads) {
      const int box = begin + static_cast<int>(threadIdx.x);
      const bool touches = box < boxes.count && boxes.at(box).touches(where);
      const uint32_t votes = __ballot_sync(0xffffffffu, touches);
      if (begin > 0) __syncthreads();  // the counts of before have been read
      if (lane == 0) of_warps[warp] = __popc(votes);
      __syncthreads();
      int place = total + __popc(votes & ((1u << lane) - 1u));
      for (int k = 0; k < kWarps; ++k) {
        const int count = of_warps[k];
        place += k < warp ? count : 0;
        total += count;
      }
      if (touches && place < kThreads) touching[place] = box;
    }
    __syncthreads();
    listed_ = total <= kThreads;
    count_ = listed_ ? total : boxes.count;
  }
  MAGNET_DEVICE int count() const { return count_; }
  MAGNET_DEVICE int at(int i) const { return listed_ ? touching_[i] : i; }

 private:
  Shared<int32_t> touching_;
  int count_;
  bool listed_;
};

}  // namespace magnet::cuda
