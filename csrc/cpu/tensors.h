// Between torch's stable tensors and the plain structs that kernels take: views, checks, memory, threads.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/map.h"
#include "cpu/score.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace magnet {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The public functions check with better messages; this guards against calls that bypass them. Becomes ValueError.
template <class... Words>
void check(bool condition, const Words&... words) {
  if (condition) return;
  std::ostringstream message;
  (message << ... << words);
  throw std::invalid_argument(message.str());
}

inline Element element_of(const Tensor& x, const char* name) {
  switch (x.scalar_type()) {
    case ScalarType::Float:
      return Element::f32;
    case ScalarType::Half:
      return Element::f16;
    case ScalarType::BFloat16:
      return Element::bf16;
    case ScalarType::Double:
      return Element::f64;
    default:
      throw std::invalid_argument(std::string(name) + ": expected float32, float16, bfloat16 or float64");
  }
}

inline Map view(const Tensor& x, const char* name) {
  check(x.dim() == 4, name, ": expected 4 dimensions (N, C, H, W), got ", x.dim());
  auto size = x.sizes();
  auto stride = x.strides();
  return {static_cast<char*>(x.data_ptr()),
          element_of(x, name),
          size[0],
          size[1],
          size[2],
          size[3],
          stride[0],
          stride[1],
          stride[2],
          stride[3]};
}

inline void check_same(const Map& a, const Map& b, const char* name) {
  check(a.type == b.type, name, ": expected the type of the other map");
  check(a.n == b.n && a.c == b.c && a.h == b.h && a.w == b.w, name, ": expected shape (", a.n, ", ", a.c, ", ", a.h,
        ", ", a.w, "), got (", b.n, ", ", b.c, ", ", b.h, ", ", b.w, ")");
}

// No mask, or bool (N, 1, H, W) of any strides.
inline ValidMap view_mask(const std::optional<Tensor>& mask, int64_t n, int64_t h, int64_t w) {
  if (!mask.has_value()) return {};
  check(mask->scalar_type() == ScalarType::Bool, "mask: expected a bool tensor");
  auto size = mask->sizes();
  check(mask->dim() == 4 && size[0] == n && size[1] == 1 && size[2] == h && size[3] == w, "mask: expected shape (", n,
        ", 1, ", h, ", ", w, ")");
  auto stride = mask->strides();
  return {static_cast<const bool*>(mask->data_ptr()), stride[0], stride[2], stride[3]};
}

inline Tensor new_scores(const Tensor& like, int64_t n, int64_t h, int64_t w) {
  return torch::stable::new_empty(like, {n, 1, h, w}, ScalarType::Float);
}

// Asks for large pages under fresh memory that is about to be written whole: a page fault for 2 MB, not for each 4 KB.
inline void prefer_large_pages(const Tensor& x, int64_t bytes) {
#if defined(MADV_HUGEPAGE)
  constexpr uintptr_t kPage = 4096, kLargePage = uintptr_t{2} << 20;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(x.data_ptr()) + kPage - 1) / kPage * kPage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(x.data_ptr()) + bytes) / kPage * kPage;
  if (end > begin && end - begin >= 2 * kLargePage) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)x, (void)bytes;
#endif
}

// Calls function(worker, item) for every item, on torch's threads; each takes the next item when it is done with one,
// so that a thread that the machine holds up does not hold up the rest. function must not throw.
inline int64_t worker_count(int64_t items) {
  return std::clamp<int64_t>(torch::stable::get_num_threads(), 1, std::max<int64_t>(items, 1));
}

template <class Function>
void for_each_item(int64_t items, const Function& function) {
  const int64_t workers = worker_count(items);
  std::atomic<int64_t> next{0};
  torch::stable::parallel_for(0, workers, 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker) {
      for (int64_t item; (item = next.fetch_add(1)) < items;) function(worker, item);
    }
  });
}

// Scratch memory for each worker, allocated before any of them starts.
class Workspace {
 public:
  Workspace(int64_t workers, int64_t bytes) : stride_((bytes + 63) / 64 * 64 + 64), memory_(workers * stride_ + 64) {}
  char* of(int64_t worker) {
    return reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(memory_.data()) + 63) / 64 * 64) + worker * stride_;
  }

 private:
  int64_t stride_;
  std::vector<char> memory_;
};

}  // namespace magnet
