// The K highest of a score map by CUB, as the rival of select_points: a C interface for cub_topk.py.
//
// Every function is called twice, as CUB's own are: with temp = nullptr it only says how many bytes it needs. Results
// are those of cudaError_t. DeviceTopK (CUB 3.3 on) gives K indices in any order and, of equal scores, any: CUB 3.5
// documents fixed ties and sorted output, but refuses to compile them. What gives the points that select_points gives
// is made of what is there: unique keys of score and index, so that no ties are left, then a sort of the K indices.
// With an older CUB a stable sort of all scores takes its place.
#include <thrust/iterator/counting_iterator.h>

#include <cstdint>
#include <cub/cub.cuh>
#include <cub/version.cuh>
#include <cuda/std/functional>

#if CUB_VERSION >= 300300
#include <cub/device/device_topk.cuh>
#include <cuda/iterator>
#define MAGNET_CUB_TOPK 1
#endif
#if CUB_VERSION >= 300500
#include <cub/device/device_batched_topk.cuh>
#define MAGNET_CUB_BATCHED 1
#endif

namespace {

// Temporary memory in pieces, each at a multiple of 256 bytes; with no memory only their sum.
struct Pieces {
  char* base;
  size_t used = 0;

  template <class T>
  T* take(size_t count) {
    char* place = base ? base + used : nullptr;
    used += (count * sizeof(T) + 255) / 256 * 256;
    return reinterpret_cast<T*>(place);
  }
};

// Bits that a number of `n` pixels needs.
int bits_of(int64_t n) {
  int bits = 1;
  while (bits < 32 && (int64_t{1} << bits) < n) ++bits;
  return bits;
}

struct ToInt64 {
  __device__ int64_t operator()(uint32_t x) const { return x; }
};

// Ascending, as int64. Scratch for `keys` and `sorted` is the caller's.
cudaError_t sort_points(void* temp, size_t& bytes, uint32_t* keys, uint32_t* sorted, int64_t* points, int64_t n,
                        int64_t k, cudaStream_t stream) {
  const int count = static_cast<int>(k);
  const cudaError_t error = cub::DeviceRadixSort::SortKeys(temp, bytes, keys, sorted, count, 0, bits_of(n), stream);
  if (error != cudaSuccess || temp == nullptr) return error;
  return cub::DeviceTransform::Transform(sorted, points, count, ToInt64{}, stream);
}

#ifdef MAGNET_CUB_TOPK
auto fastest(cudaStream_t stream) {
  const auto any = cuda::execution::require(cuda::execution::determinism::not_guaranteed,
                                            cuda::execution::output_ordering::unsorted);
  return cuda::std::execution::env{cuda::stream_ref{stream}, any};
}

// Unique keys: the score, and below it the index so that the lower of two equal scores' indices is the higher key.
// Scores are those of refine_step, from 0 on: their bits rank as they do.
struct KeyAt {
  const float* score;
  __device__ uint64_t operator()(uint32_t i) const { return uint64_t{__float_as_uint(score[i])} << 32 | ~i; }
};
struct IndexOf {
  __device__ uint32_t operator()(uint64_t key) const { return ~static_cast<uint32_t>(key); }
};
#endif

#ifdef MAGNET_CUB_BATCHED
using Numbers = cuda::counting_iterator<int32_t>;  // values: 0, 1, 2, ...

// From the number of an image to an iterator over it.
template <class T>
struct RowOf {
  T* data;
  int64_t step;
  __host__ __device__ T* operator()(int64_t image) const { return data + image * step; }
};
template <class Iterator>
struct Always {
  __host__ __device__ Iterator operator()(int64_t) const { return {}; }
};
template <class Function>
auto of_images(Function function) {
  return cuda::transform_iterator{cuda::counting_iterator<int64_t>{0}, function};
}
#endif

}  // namespace

extern "C" {

int magnet_cub_version() { return CUB_VERSION; }

// Which of the functions below this CUB has: bit 0 magnet_cub_topk, bit 1 magnet_cub_batched_topk.
int magnet_cub_has() {
  int has = 0;
#ifdef MAGNET_CUB_TOPK
  has |= 1;
#endif
#ifdef MAGNET_CUB_BATCHED
  has |= 2;
#endif
  return has;
}

// score (n,) -> points (k,) int32 in any order, of equal scores any: the least that CUB can be asked for.
int magnet_cub_topk(void* temp, size_t* bytes, const float* score, int32_t* points, int64_t n, int64_t k,
                    void* stream) {
#ifdef MAGNET_CUB_TOPK
  return cub::DeviceTopK::MaxPairs(temp, *bytes, score, cuda::discard_iterator{}, cuda::counting_iterator<int32_t>{0},
                                   points, static_cast<uint32_t>(n), static_cast<uint32_t>(k),
                                   fastest(static_cast<cudaStream_t>(stream)));
#else
  return cudaErrorNotSupported;
#endif
}

// score (n,), none negative -> points (k,) int64 ascending, of equal scores the lowest indices: what select_points
// gives.
int magnet_cub_topk_ordered(void* temp, size_t* bytes, const float* score, int64_t* points, int64_t n, int64_t k,
                            void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  Pieces pieces{static_cast<char*>(temp)};
  uint32_t* chosen = pieces.take<uint32_t>(static_cast<size_t>(n));  // all n of them where all are sorted
  uint32_t* sorted = pieces.take<uint32_t>(static_cast<size_t>(k));
  size_t first = 0, second = 0;
  cudaError_t error = sort_points(nullptr, second, chosen, sorted, points, n, k, stream);
  if (error != cudaSuccess) return error;
#ifdef MAGNET_CUB_TOPK
  const auto keys = cuda::transform_iterator{cuda::counting_iterator<uint32_t>{0}, KeyAt{score}};
  const auto indices = cuda::transform_output_iterator{chosen, IndexOf{}};
  const auto select = [&](void* memory) {
    return cub::DeviceTopK::MaxKeys(memory, first, keys, indices, static_cast<uint32_t>(n), static_cast<uint32_t>(k),
                                    fastest(stream));
  };
#else
  float* ranked = pieces.take<float>(static_cast<size_t>(n));
  uint32_t* all = pieces.take<uint32_t>(static_cast<size_t>(n));
  const int count = static_cast<int>(n);
  const auto select = [&](void* memory) -> cudaError_t {
    if (memory != nullptr) {
      const auto numbers = thrust::counting_iterator<uint32_t>{0};
      const cudaError_t failed = cub::DeviceTransform::Transform(numbers, all, count, cuda::std::identity{}, stream);
      if (failed != cudaSuccess) return failed;
    }
    return cub::DeviceRadixSort::SortPairsDescending(memory, first, score, ranked, all, chosen, count, 0, 32, stream);
  };
#endif
  error = select(nullptr);
  if (error != cudaSuccess) return error;
  char* memory = pieces.take<char>(first > second ? first : second);
  if (temp == nullptr) {
    *bytes = pieces.used;
    return cudaSuccess;
  }
  error = select(memory);
  if (error != cudaSuccess) return error;
  return sort_points(memory, second, chosen, sorted, points, n, k, stream);
}

// score (images, 4096) -> points (images, k) int32 within the image, in any order: images of 64 x 64, one block each.
int magnet_cub_batched_topk(void* temp, size_t* bytes, const float* score, int32_t* points, int64_t images, int64_t k,
                            void* stream) {
#ifdef MAGNET_CUB_BATCHED
  constexpr int64_t kPixels = 4096;
  const auto scores = of_images(RowOf<const float>{score, kPixels});
  const auto places = of_images(RowOf<int32_t>{points, k});
  const auto any =
      cuda::execution::require(cuda::execution::determinism::not_guaranteed, cuda::execution::tie_break::unspecified,
                               cuda::execution::output_ordering::unsorted);
  const auto env = cuda::std::execution::env{cuda::stream_ref{static_cast<cudaStream_t>(stream)}, any};
  return cub::DeviceBatchedTopK::MaxPairs(temp, *bytes, scores, of_images(Always<cuda::discard_iterator>{}),
                                          of_images(Always<Numbers>{}), places, cuda::args::constant<kPixels>{},
                                          cuda::args::immediate{k, cuda::args::bounds<int64_t{1}, kPixels>()},
                                          cuda::args::immediate{images}, env);
#else
  return cudaErrorNotSupported;
#endif
}

}  // extern "C"
