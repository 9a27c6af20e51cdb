#include "cuda/parts/median_launch.cuh"
#include "cuda/parts/select_keys.cuh"
#include "cuda/refine_step.h"

namespace magnet::cuda {

void make_median_keys(const Selection& s, const float* raw, int kernel_size, const Stream& stream) {
  char* data = reinterpret_cast<char*>(const_cast<float*>(raw));
  const int64_t pixels = s.pixels();
  const Map scores{data, Element::f32, s.n, 1, s.h, s.w, pixels, pixels, s.w, 1};
  if (kernel_size == 1) return make_keys(s, scores, true, stream);
  // Blocks that count have tables to clear and to add up: as many as run at once.
  const int64_t most = s.block_an_image() ? 0 : 4 * multiprocessors(stream);
  launch_median(scores, kernel_size, most, key_sink(s), stream);
}

}  // namespace magnet::cuda
