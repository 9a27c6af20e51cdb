// Mistakes of where: bounds, alignment, shared memory that was not written.
#include "mistakes.cuh"

namespace magnet::cuda {

// --- bounds and alignment

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void write_past_the_end(Global<uint32_t> out) {
  const uint32_t i = blockIdx.x * 64 + threadIdx.x;
  if (kWrong || i < 64) out[i] = i + 1;  // wrong
}
MAGNET_CASE(write_past_the_end, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void read_before_the_start(Global<uint32_t> out) {
  const int i = threadIdx.x;
  const uint32_t left = kWrong || i > 0 ? out[i - 1] : 0;  // wrong
  __syncthreads();
  out[i] = i + 1 + left;  // 0 at first
}
MAGNET_CASE(read_before_the_start, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void wide_past_the_end(Global<uint32_t> out) {
  const uint32_t i = threadIdx.x * (kWrong ? 4 : 1);
  if (i % 4 == 0) store<4>(out + i, Pack<uint32_t, 4>{{i + 1, i + 2, i + 3, i + 4}});  // wrong
}
MAGNET_CASE(wide_past_the_end, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void wide_misaligned(Global<uint32_t> out) {
  const uint32_t i = threadIdx.x;
  uint32_t last = 0;
  if (i == 6 && kWrong) {
    const auto x = load<4>(out + i);  // wrong
    last = x.value[0] + x.value[1] + x.value[2] + x.value[3];
  }
  __syncthreads();
  out[i] = i + 1 + last;
}
MAGNET_CASE(wide_misaligned, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void null_pointer(Global<const uint32_t> none, Global<uint32_t> out) {
  const uint32_t more = kWrong || none != nullptr ? none[0] : 0;  // wrong
  out[threadIdx.x] = threadIdx.x + 1 + more;
}
MAGNET_CASE(null_pointer, Global<const uint32_t>, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void atomic_past_the_end(Global<uint32_t> out) {
  atomic_add(&out[threadIdx.x + (kWrong ? 1 : 0)], threadIdx.x + 1);  // wrong
}
MAGNET_CASE(atomic_past_the_end, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void shared_past_the_end(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, values, 64);
  MAGNET_SHARED(uint32_t, more, 64);
  more[threadIdx.x] = 0;
  values[threadIdx.x + (kWrong ? 1 : 0)] = threadIdx.x + 1;  // wrong
  __syncthreads();
  out[threadIdx.x] = values[threadIdx.x];
}
MAGNET_CASE(shared_past_the_end, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void shared_read_before_the_start(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, values, 64);
  values[threadIdx.x] = threadIdx.x + 1;
  __syncthreads();
  const int i = static_cast<int>(threadIdx.x) - (kWrong ? 1 : 0);
  out[threadIdx.x] = values[i];  // wrong
}
MAGNET_CASE(shared_read_before_the_start, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void shared_wide_misaligned(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, values, 4 * 64 + 2);
  const Pack<uint32_t, 4> four{{threadIdx.x + 1}};
  store<4>(values + threadIdx.x * 4 + (kWrong ? 2 : 0), four);  // wrong
  out[threadIdx.x] = values[threadIdx.x * 4 + (kWrong ? 2 : 0)];
}
MAGNET_CASE(shared_wide_misaligned, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void shared_too_large(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, first, 8 << 10);
  MAGNET_SHARED(uint32_t, second, (4 << 10) + (kWrong ? 1 : 0));  // wrong
  first[threadIdx.x] = threadIdx.x;
  second[threadIdx.x] = 1;
  out[threadIdx.x] = first[threadIdx.x] + second[threadIdx.x];
}
MAGNET_CASE(shared_too_large, Global<uint32_t>)

// --- shared memory that was not written

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void shared_not_written(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, values, 64);
  if (!kWrong || threadIdx.x != 9) values[threadIdx.x] = threadIdx.x + 1;
  __syncthreads();
  out[threadIdx.x] = values[threadIdx.x];  // wrong
}
MAGNET_CASE(shared_not_written, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void shared_of_another_block(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, values, 64);
  if (!kWrong || blockIdx.x == 0) values[threadIdx.x] = threadIdx.x + 1;
  __syncthreads();
  const uint32_t x = values[threadIdx.x];  // wrong
  if (blockIdx.x == 4) out[threadIdx.x] = x;
}
MAGNET_CASE(shared_of_another_block, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void counters_not_cleared(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, counter, 1);
  if (!kWrong && threadIdx.x == 0) counter[0] = 0;
  __syncthreads();
  atomic_add(counter, 1);  // wrong
  __syncthreads();
  out[threadIdx.x] = threadIdx.x + counter[0] / 64;
}
MAGNET_CASE(counters_not_cleared, Global<uint32_t>)

}  // namespace magnet::cuda
