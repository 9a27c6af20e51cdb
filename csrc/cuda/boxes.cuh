// Lists of boxes as kernels see them, and the arithmetic that the operators on patches share.
#pragma once

#include <vector>

#include "common/bilinear.h"
#include "cuda/boxes.h"
#include "cuda/device.cuh"
#include "cuda/wide.cuh"

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

// memory: on the device, for all items where there are more than kFew. `items` may go once this has returned: a copy
// from memory that is not pinned is taken before.
template <int kFew, class T>
List<T, kFew> list_of(const std::vector<T>& items, void* memory, const Stream& stream) {
  const int64_t count = static_cast<int64_t>(items.size());
  const bool many = count > kFew;
  List<T, kFew> list{static_cast<int>(count), global<const T>(many ? memory : nullptr, many ? count : 0), {}};
  if (many) {
    copy_to_device(memory, items.data(), count * static_cast<int64_t>(sizeof(T)), stream);
  } else {
    for (int64_t i = 0; i < count; ++i) list.few[i] = items[i];
  }
  return list;
}

}  // namespace magnet::cuda
