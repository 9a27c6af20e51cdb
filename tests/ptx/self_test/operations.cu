// Kernels that show what the operations of warps, blocks and memory give, and the functions of numbers.
#include "cuda/parts/device.cuh"
#include "order.cuh"

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

#define MAGNET_SHUFFLE(T) \
  template __global__ void shuffle<T>(int, unsigned, int, Global<const int>, Global<const T>, Global<T>);
MAGNET_SHUFFLE(int32_t)
MAGNET_SHUFFLE(uint32_t)
MAGNET_SHUFFLE(int64_t)
MAGNET_SHUFFLE(uint64_t)
MAGNET_SHUFFLE(float)
MAGNET_SHUFFLE(double)

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

// --- barriers that join a predicate

MAGNET_KERNEL(1024, 32) void join(Global<const int> in, Global<int> out) {
  const int x = in[threadIdx.x];
  const int any = __syncthreads_or(x), all = __syncthreads_and(x), count = __syncthreads_count(x);
  out[threadIdx.x * 3] = any;
  out[threadIdx.x * 3 + 1] = all;
  out[threadIdx.x * 3 + 2] = count;
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

// --- the order in which threads come: each takes a ticket

MAGNET_KERNEL(128, 32) void order(Global<uint32_t> ticket, Global<uint32_t> out) {
  out[blockIdx.x * blockDim.x + threadIdx.x] = atomic_add(ticket, 1);
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

// --- functions of numbers: a thread an element

#define MAGNET_ELEMENTWISE(name, From, To, expression)                                        \
  MAGNET_KERNEL(256, 32) void name(Global<const From> in, int64_t elements, Global<To> out) { \
    const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;            \
    if (i >= elements) return;                                                                \
    const From x = in[i];                                                                     \
    out[i] = expression;                                                                      \
  }
MAGNET_ELEMENTWISE(widen_half, uint16_t, float, to_float(Half{x}))
MAGNET_ELEMENTWISE(widen_bfloat16, uint16_t, float, to_float(BFloat16{x}))
MAGNET_ELEMENTWISE(narrow_half, float, uint16_t, from_float<Half>(x).bits)
MAGNET_ELEMENTWISE(narrow_bfloat16, float, uint16_t, from_float<BFloat16>(x).bits)
MAGNET_ELEMENTWISE(exp2_fast_of, float, float, exp2_fast(x))
MAGNET_ELEMENTWISE(reciprocal_fast_of, float, float, reciprocal_fast(x))
MAGNET_ELEMENTWISE(to_int32, float, int32_t, static_cast<int32_t>(x))
MAGNET_ELEMENTWISE(to_int64, float, int64_t, static_cast<int64_t>(x))
MAGNET_ELEMENTWISE(to_uint32, float, uint32_t, static_cast<uint32_t>(x))
MAGNET_ELEMENTWISE(from_int64, int64_t, float, static_cast<float>(x))
MAGNET_ELEMENTWISE(third, float, double, static_cast<double>(x) / 3)
MAGNET_ELEMENTWISE(from_double, double, float, static_cast<float>(x))
MAGNET_ELEMENTWISE(root, float, float, sqrtf(x))

#define MAGNET_ROW(expression) out[row++ * elements + i] = expression
// Of two numbers: a row a result.
MAGNET_KERNEL(256, 32) void floats(Global<const float> a, Global<const float> b, int64_t elements, Global<float> out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= elements) return;
  const float x = a[i], y = b[i];
  int row = 0;
  MAGNET_ROW(x + y);
  MAGNET_ROW(x - y);
  MAGNET_ROW(x * y);
  MAGNET_ROW(x / y);
  MAGNET_ROW(fmaf(x, y, x));
  MAGNET_ROW(max(x, y));
  MAGNET_ROW(min(x, y));
  MAGNET_ROW(max_nan(x, y));
  MAGNET_ROW(fabsf(x));
}
MAGNET_KERNEL(256, 32)
void comparisons(Global<const float> a, Global<const float> b, int64_t elements, Global<uint8_t> out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= elements) return;
  const float x = a[i], y = b[i];
  int row = 0;
  MAGNET_ROW(x < y);
  MAGNET_ROW(x <= y);
  MAGNET_ROW(x == y);
  MAGNET_ROW(x != y);
  MAGNET_ROW(x > y);
  MAGNET_ROW(x >= y);
  MAGNET_ROW(!(x < y));
  MAGNET_ROW(!(x >= y));
}
// Of pairs of 16-bit numbers.
template <class T>
MAGNET_KERNEL(256, 32)
void pairs(Global<const uint32_t> a, Global<const uint32_t> b, int64_t elements, Global<uint32_t> out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= elements) return;
  const uint32_t x = a[i], y = b[i];
  int row = 0;
  MAGNET_ROW(max_pair<T>(x, y));
  MAGNET_ROW(min_pair<T>(x, y));
  MAGNET_ROW(max_nan_pair<T>(x, y));
}
template __global__ void pairs<Half>(Global<const uint32_t>, Global<const uint32_t>, int64_t, Global<uint32_t>);
template __global__ void pairs<BFloat16>(Global<const uint32_t>, Global<const uint32_t>, int64_t, Global<uint32_t>);

MAGNET_KERNEL(256, 64)
void integers(Global<const uint64_t> words, Global<const uint32_t> shifts, int64_t elements, Global<uint64_t> out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= elements) return;
  const uint64_t x = words[i];
  const uint32_t shift = shifts[i], low = static_cast<uint32_t>(x), high = static_cast<uint32_t>(x >> 32);
  int row = 0;
  MAGNET_ROW(__popc(low));
  MAGNET_ROW(__popcll(x));
  MAGNET_ROW(__clz(static_cast<int>(low)));
  MAGNET_ROW(__clzll(static_cast<long long>(x)));
  MAGNET_ROW(__ffs(static_cast<int>(low)));
  MAGNET_ROW(__ffsll(static_cast<long long>(x)));
  MAGNET_ROW(__brev(low));
  MAGNET_ROW(__brevll(x));
  MAGNET_ROW(__funnelshift_l(low, high, shift));
  MAGNET_ROW(__funnelshift_r(low, high, shift));
  MAGNET_ROW(__funnelshift_lc(low, high, shift));
  MAGNET_ROW(__funnelshift_rc(low, high, shift));
  MAGNET_ROW(__umulhi(low, high));
  MAGNET_ROW(float_bits(bits_float(low)));
  MAGNET_ROW(x << (shift & 63));
  MAGNET_ROW(x >> (shift & 63));
  MAGNET_ROW(static_cast<int64_t>(x) >> (shift & 63));
  MAGNET_ROW(high ? low / high : 0);
  MAGNET_ROW(high ? low % high : 0);
  MAGNET_ROW(high ? x / high : 0);
  MAGNET_ROW(high ? x % high : 0);
  MAGNET_ROW(min(static_cast<int>(low), high));  // as unsigned, as in C++
  MAGNET_ROW(static_cast<uint32_t>(max(static_cast<int>(low), static_cast<int>(high))));
  MAGNET_ROW(static_cast<int64_t>(static_cast<int>(low)) * static_cast<int>(high));
  MAGNET_ROW(static_cast<uint64_t>(static_cast<int64_t>(static_cast<int8_t>(low))));
  MAGNET_ROW(static_cast<uint64_t>(static_cast<int64_t>(static_cast<int16_t>(low >> 8))));
  uint32_t word;
  uint64_t words_of_two;
  asm("bfi.b32 %0, %1, %2, %3, 13;" : "=r"(word) : "r"(high), "r"(low), "r"(shift));
  asm("bfi.b64 %0, %1, %2, %3, 37;" : "=l"(words_of_two) : "l"(~x), "l"(x), "r"(shift));
  MAGNET_ROW(word);
  MAGNET_ROW(words_of_two);
}

}  // namespace magnet::cuda
