// What only CPU kernels need besides binding/tensors.h: memory in large pages, threads and their scratch memory.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "binding/tensors.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace magnet {

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

// Whether a result of so many bytes would only push other things out of the caches.
inline bool outgrows_caches(int64_t bytes) { return bytes > (int64_t{8} << 20); }

// How many of torch's threads work on so many items.
inline int64_t worker_count(int64_t items) {
  return std::clamp<int64_t>(torch::stable::get_num_threads(), 1, std::max<int64_t>(items, 1));
}

// Calls function(worker, item) for every item, on torch's threads; each takes the next item when it is done with one,
// so that a thread that the machine holds up does not hold up the rest. function must not throw.
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
