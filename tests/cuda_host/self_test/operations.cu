// Kernels that show what the operations of warps, blocks and memory give.
#include "cuda/device.cuh"
#include "report.h"

namespace magnet::cuda {

// --- shuffles: kind 0 by index, 1 up, 2 down, 3 xor; what lanes outside of the mask have is left alone

template <class T>
MAGNET_KERNEL(32, 32)
void shuffle(int kind, unsigned mask, int width, Global<const int> by, Global<const T> in, Global<T> out) {
  const uint32_t lane = threadIdx.x;
  if (!(mask >> lane & 1)) return;
  const int offset = by[lane];
  T x = in[lane];
  if (kind == 0) x = __shfl_sync(mask, x, offset, width);
  if (kind == 1) x = __shfl_up_sync(mask, x, static_cast<unsigned>(offset), width);
  if (kind == 2) x = __shfl_down_sync(mask, x, static_cast<unsigned>(offset), width);
  if (kind == 3) x = __shfl_xor_sync(mask, x, offset, width);
  out[lane] = x;
}

#define MAGNET_SHUFFLE(T, name)                                                                                      \
  MAGNET_EXPORT const char* shuffle_##name(int kind, unsigned mask, int width, const int* by, const T* in, T* out) { \
    return error_of([&] {                                                                                            \
      launch("shuffle", shuffle<T>, 1, 32, Stream(), kind, mask, width, global<const int>(by, 32),                   \
             global<const T>(in, 32), global<T>(out, 32));                                                           \
    });                                                                                                              \
  }
MAGNET_SHUFFLE(int32_t, int32)
MAGNET_SHUFFLE(uint32_t, uint32)
MAGNET_SHUFFLE(int64_t, int64)
MAGNET_SHUFFLE(uint64_t, uint64)
MAGNET_SHUFFLE(float, float)
MAGNET_SHUFFLE(double, double)

// --- votes and reductions of the lanes in the mask: one row of 32 results each

MAGNET_KERNEL(32, 32) void votes(unsigned mask, Global<const uint32_t> in, Global<uint32_t> out) {
  const uint32_t lane = threadIdx.x;
  if (!(mask >> lane & 1)) return;
  const uint32_t x = in[lane];
  const int32_t y = static_cast<int32_t>(x);
  int row = 0;
  const auto put = [&](auto result) { out[row++ * 32 + lane] = static_cast<uint32_t>(result); };
  put(__ballot_sync(mask, x & 1));
  put(__any_sync(mask, x & 2));
  put(__all_sync(mask, x & 4));
  put(__match_any_sync(mask, x));
  put(__match_any_sync(mask, static_cast<unsigned long long>(x) << 32));
  put(__reduce_add_sync(mask, x));
  put(__reduce_min_sync(mask, x));
  put(__reduce_max_sync(mask, x));
  put(__reduce_add_sync(mask, y));
  put(__reduce_min_sync(mask, y));
  put(__reduce_max_sync(mask, y));
  put(__reduce_and_sync(mask, x));
  put(__reduce_or_sync(mask, x));
  put(__reduce_xor_sync(mask, x));
}
MAGNET_EXPORT const char* votes_of(unsigned mask, const uint32_t* in, uint32_t* out) {
  return error_of([&] {
    launch("votes", votes, 1, 32, Stream(), mask, global<const uint32_t>(in, 32), global<uint32_t>(out, 14 * 32));
  });
}

// --- barriers that join a predicate

MAGNET_KERNEL(1024, 32) void join(Global<const int> in, Global<int> out) {
  const int x = in[threadIdx.x];
  const int any = __syncthreads_or(x), all = __syncthreads_and(x), count = __syncthreads_count(x);
  out[threadIdx.x * 3] = any;
  out[threadIdx.x * 3 + 1] = all;
  out[threadIdx.x * 3 + 2] = count;
}
MAGNET_EXPORT const char* join_of(int threads, const int* in, int* out) {
  return error_of([&] {
    launch("join", join, 1, threads, Stream(), global<const int>(in, threads), global<int>(out, 3 * threads));
  });
}

// --- atomics: a histogram of 64 bins by shared and global memory, what is set in all values, the first value to come

MAGNET_KERNEL(128, 32)
void count(Global<const uint32_t> in, int64_t elements, Global<uint32_t> bins, Global<uint64_t> sum,
           Global<uint32_t> bits, Global<uint32_t> first) {
  MAGNET_SHARED(uint32_t, mine, 64);
  MAGNET_SHARED(uint64_t, total, 1);
  if (threadIdx.x < 64) mine[threadIdx.x] = 0;
  if (threadIdx.x == 0) total[0] = 0;
  __syncthreads();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < elements) {
    const uint32_t x = in[i];
    atomic_add(&mine[x % 64], 1);
    atomic_add(total, x);
    atomic_or(bits, x);
    atomic_cas(first, 0xffffffffu, x);
  }
  __syncthreads();
  if (threadIdx.x < 64) atomic_add(bins + threadIdx.x, mine[threadIdx.x]);
  if (threadIdx.x == 0) atomic_add(sum, total[0]);
}
MAGNET_EXPORT const char* count_of(const uint32_t* in, int64_t elements, uint32_t* bins, uint64_t* sum, uint32_t* bits,
                                   uint32_t* first) {
  return error_of([&] {
    launch("count", count, (elements + 127) / 128, 128, Stream(), global<const uint32_t>(in, elements), elements,
           global<uint32_t>(bins, 64), global<uint64_t>(sum, 1), global<uint32_t>(bits, 1), global<uint32_t>(first, 1));
  });
}

// --- the order in which threads come: each takes a ticket

MAGNET_KERNEL(128, 32) void order(Global<uint32_t> ticket, Global<uint32_t> out) {
  out[blockIdx.x * blockDim.x + threadIdx.x] = atomic_add(ticket, 1);
}
MAGNET_EXPORT const char* order_of(int64_t blocks, int threads, uint32_t* out) {
  return error_of([&] {
    uint32_t ticket = 0;
    launch("order", order, blocks, threads, Stream(), global<uint32_t>(&ticket, 1),
           global<uint32_t>(out, blocks * threads));
  });
}

// --- exclusive prefix sums by decoupled look-back: blocks publish their sum, then their sum with all before

constexpr uint64_t kSum = uint64_t(1) << 62, kPrefix = uint64_t(2) << 62, kValue = kSum - 1;

MAGNET_KERNEL(64, 32)
void scan(Global<const uint32_t> in, int64_t elements, Global<uint32_t> ticket, Global<uint64_t> tiles,
          Global<uint64_t> out, Global<uint32_t> waits) {
  MAGNET_SHARED(uint32_t, turn, 1);
  MAGNET_SHARED(uint64_t, sums, 2);
  MAGNET_SHARED(uint64_t, before, 1);
  if (threadIdx.x == 0) turn[0] = atomic_add(ticket, 1);
  __syncthreads();
  const int64_t tile = turn[0], i = tile * 64 + threadIdx.x;
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const uint64_t x = i < elements ? in[i] : 0;
  uint64_t sum = x;
  for (unsigned d = 1; d < 32; d *= 2) {
    const uint64_t left = __shfl_up_sync(~0u, sum, d);
    if (lane >= d) sum += left;
  }
  if (lane == 31) sums[warp] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    const uint64_t all = sums[0] + sums[1];
    uint64_t earlier = 0;
    if (tile > 0) {
      store_release(tiles + tile, kSum | all);
      for (int64_t t = tile - 1;; --t) {
        uint64_t state = load_acquire(tiles + t);
        while (state == 0) {
          atomic_add(waits, 1);
          back_off();
          state = load_acquire(tiles + t);
        }
        earlier += state & kValue;
        if (state & kPrefix) break;
      }
    }
    store_release(tiles + tile, kPrefix | (earlier + all));
    before[0] = earlier;
  }
  __syncthreads();
  if (i < elements) out[i] = before[0] + (warp ? static_cast<uint64_t>(sums[0]) : 0) + sum - x;
}
MAGNET_EXPORT const char* scan_of(const uint32_t* in, int64_t elements, uint64_t* tiles, uint64_t* out,
                                  uint32_t* waits) {
  return error_of([&] {
    const int64_t blocks = (elements + 63) / 64;
    uint32_t ticket = 0;
    launch("scan", scan, blocks, 64, Stream(), global<const uint32_t>(in, elements), elements,
           global<uint32_t>(&ticket, 1), global<uint64_t>(tiles, blocks), global<uint64_t>(out, elements),
           global<uint32_t>(waits, 1));
  });
}

// --- pointers: of every kind a kernel uses

struct Pair {
  float a;
  int64_t b;
};

template <class T>
MAGNET_DEVICE T sum_of(Shared<const T> values, int count) {
  T sum = 0;
  for (Shared<const T> p = values; p < values + count; ++p) sum += *p;
  return sum;
}

MAGNET_KERNEL(32, 32) void pointers(Global<const Pair> pairs, Global<const float> none, Global<double> out) {
  MAGNET_SHARED(double, values, 32);
  const Pair pair = pairs[threadIdx.x];
  values[threadIdx.x] = pair.a;
  values[threadIdx.x] += pair.b;
  __syncwarp();
  const double sum = sum_of<double>(values, 32);
  __syncwarp();
  Shared<double> mine = &values[threadIdx.x];
  *mine = none == nullptr && !none ? sum : 0;
  mine[0] -= 1;
  out[threadIdx.x] = values[threadIdx.x];
}
MAGNET_EXPORT const char* pointers_of(const Pair* pairs, double* out) {
  return error_of([&] {
    launch("pointers", pointers, 1, 32, Stream(), global<const Pair>(pairs, 32), global<const float>(nullptr, 0),
           global<double>(out, 32));
  });
}

// --- an exception of other code in a kernel

MAGNET_KERNEL(32, 32) void throws() {
  __syncthreads();
  if (threadIdx.x == 9) throw std::logic_error("from a kernel");
  __syncthreads();
}
MAGNET_EXPORT const char* throws_of() {
  return error_of([&] { launch("throws", throws, 3, 32, Stream()); });
}

MAGNET_EXPORT int multiprocessors_of() { return multiprocessors(Stream()); }

}  // namespace magnet::cuda
