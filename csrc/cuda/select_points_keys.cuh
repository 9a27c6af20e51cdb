// Selection keys of a score map.
#pragma once

#include "cuda/parts/select_keys.cuh"

namespace magnet::cuda {

constexpr int kKeyThreads = 256;
constexpr int kKeyLoads = 4;  // in flight of a thread

// Of an image as one row where that is possible.
template <class T>
struct ScoreView {
  Global<const T> data;
  int64_t sn, sy, sx;
  bool vectors;  // four consecutive pixels are in one place, aligned
};

template <class T>
MAGNET_DEVICE uint32_t key_of(T score) {
  return ScoreKey::selection_key(float_bits(to_float(score)));
}
MAGNET_DEVICE uint64_t key_of(double score) {
  return OrderKey<Float64Format>::selection_key(static_cast<uint64_t>(__double_as_longlong(score)));
}

// Four pixels a thread and load. T: float, Half, BFloat16.
template <class T>
MAGNET_KERNEL(kKeyThreads, 64)
void make_keys_kernel(ScoreView<T> score, KeySink sink, uint32_t blocks_of_image) {
  constexpr int64_t kStep = kKeyThreads * 4;
  const int64_t image = blockIdx.x / blocks_of_image;
  const uint32_t index = blockIdx.x % blocks_of_image, pixels = sink.tables.pixels;
  const uint32_t w = static_cast<uint32_t>(sink.w);
  let_next_kernel_begin();
  KeySink::Block block(sink, image, blocks_of_image);
  wait_for_earlier_kernels();
  const Global<const T> from = score.data + image * score.sn;
#pragma unroll 1
  for (int64_t begin = index * kStep * kKeyLoads; begin < pixels; begin += blocks_of_image * kStep * kKeyLoads) {
    Pack<T, 4> value[kKeyLoads];
#pragma unroll
    for (int s = 0; s < kKeyLoads; ++s) {
      const int64_t first = begin + s * kStep + threadIdx.x * 4;
      value[s] = {};
      if (score.vectors && first + 4 <= pixels) value[s] = load<4>(from + first);
    }
#pragma unroll
    for (int s = 0; s < kKeyLoads; ++s) {
      const int64_t first = begin + s * kStep + threadIdx.x * 4, left = pixels - first;
      const int count = left < 0 ? 0 : left < 4 ? static_cast<int>(left) : 4;
      uint32_t y = 0, x = static_cast<uint32_t>(first);
      if (!score.vectors || count != 4 || sink.valid.data != nullptr) {
        y = x / w;
        x -= y * w;
      }
      Pack<uint32_t, 4> keys;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        keys.value[i] = ScoreKey::kInvalid;
        if (i >= count) continue;
        if (!score.vectors || count != 4) value[s].value[i] = from[y * score.sy + x * score.sx];
        if (sink.valid.at(image, y, x)) keys.value[i] = key_of(value[s].value[i]);
        if (++x == w) {
          x = 0;
          ++y;
        }
      }
      block.put_keys(first, keys, count);
    }
  }
  block.end();
}

// fp64: stored only.
template <class T>
MAGNET_KERNEL(kKeyThreads, 64)
void make_wide_keys(ScoreView<T> score, ValidView valid, Global<uint64_t> keys, int64_t pixels, int64_t pitch,
                    int64_t w, uint32_t blocks_of_image) {
  let_next_kernel_begin();
  wait_for_earlier_kernels();
  const int64_t image = blockIdx.x / blocks_of_image;
  const int64_t index = static_cast<int64_t>(blockIdx.x % blocks_of_image) * kKeyThreads + threadIdx.x;
  if (index >= pixels) {
    if (index < pitch) keys[image * pitch + index] = OrderKey<Float64Format>::kInvalid;
    return;
  }
  const uint32_t y = static_cast<uint32_t>(index) / static_cast<uint32_t>(w);
  const int64_t x = index - y * w;
  keys[image * pitch + index] =
      valid.at(image, y, x) ? key_of(score.data[image * score.sn + y * score.sy + x * score.sx]) : 0;
}

}  // namespace magnet::cuda
