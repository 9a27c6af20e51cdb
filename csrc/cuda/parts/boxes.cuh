// Lists of boxes as kernels see them, and the arithmetic that the operators on patches share.
#pragma once

#include <algorithm>
#include <vector>

#include "common/bilinear.h"
#include "cuda/parts/boxes.h"
#include "cuda/parts/device.cuh"
#include "cuda/parts/wide.cuh"

namespace magnet::cuda {

template <class T, int kFew>
struct List {
  int count;
  Global<const T> many;  // where there are more than kFew
  T few[kFew];

  MAGNET_DEVICE T at(int i) const {
    if (count <= kFew) return few[i];
    return many[i];
  }
};
using Rects = List<Rect, kFewRects>;

// What one launch brings of a long list. Kernels take 4 KB of arguments on every GPU.
template <class T>
struct Chunk {
  static constexpr int kMost = 3584 / sizeof(T);
  int count;
  T item[kMost];
};

constexpr int kChunkThreads = 128;

template <class T>
MAGNET_KERNEL(kChunkThreads, 32)
void put_chunk(Chunk<T> chunk, Global<T> to) {
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < chunk.count; i += kChunkThreads) to[i] = chunk.item[i];
}

// memory: on the device, for all items where there are more than kFew. They travel as arguments of kernels, which a
// captured graph keeps; a copy from `items` would be made anew at each replay, from memory that is long gone.
template <int kFew, class T>
List<T, kFew> list_of(const std::vector<T>& items, void* memory, const Stream& stream) {
  const int64_t count = static_cast<int64_t>(items.size());
  const bool many = count > kFew;
  List<T, kFew> list{static_cast<int>(count), global<const T>(many ? memory : nullptr, many ? count : 0), {}};
  for (int64_t i = 0; i < count && !many; ++i) list.few[i] = items[i];
  for (int64_t start = 0; start < count && many; start += Chunk<T>::kMost) {
    Chunk<T> chunk{static_cast<int>(std::min<int64_t>(count - start, Chunk<T>::kMost)), {}};
    std::copy_n(items.begin() + start, chunk.count, chunk.item);
    launch("list of boxes", put_chunk<T>, 1, kChunkThreads, stream, chunk,
           global<T>(static_cast<char*>(memory) + start * static_cast<int64_t>(sizeof(T)), chunk.count));
  }
  return list;
}

}  // namespace magnet::cuda
