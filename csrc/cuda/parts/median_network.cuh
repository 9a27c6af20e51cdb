// The networks of common/median_network.h on keys in registers, as straight-line code.
#pragma once

#include <utility>

#include "common/median_network.h"
#include "cuda/parts/median_source.cuh"

namespace magnet::cuda {

template <class Network, int i>
MAGNET_DEVICE void exchange_keys(int32_t* wire) {
  constexpr median::Exchange e = Network::kTable.exchanges[i];
  const int32_t a = wire[e.low], b = wire[e.high];
  if constexpr (e.want_low) wire[e.low] = smaller(a, b);
  if constexpr (e.want_high) wire[e.high] = larger(a, b);
}

template <class Network, int begin, int... i>
MAGNET_DEVICE void some_exchanges(int32_t* wire, std::integer_sequence<int, i...>) {
  (exchange_keys<Network, begin + i>(wire), ...);
}

template <class Network, int begin>
MAGNET_DEVICE void run_network(int32_t* wire) {
  constexpr int left = Network::kTable.kSize - begin, count = left < 128 ? left : 128;  // folds have a limit
  some_exchanges<Network, begin>(wire, std::make_integer_sequence<int, count>());
  if constexpr (left > count) run_network<Network, begin + count>(wire);
}

template <class Network, int... i>
MAGNET_DEVICE void take_outputs(const int32_t* wire, int32_t* out, std::integer_sequence<int, i...>) {
  ((out[i] = wire[std::integral_constant<int, Network::kTable.output[i]>::value]), ...);
}

template <int n>
MAGNET_DEVICE void sort_keys(const int32_t (&in)[n], int32_t (&out)[n]) {
  using Network = median::Sort<n>;
  int32_t wire[n];
#pragma unroll
  for (int i = 0; i < n; ++i) wire[i] = in[i];
  run_network<Network, 0>(wire);
  take_outputs<Network>(wire, out, std::make_integer_sequence<int, n>());
}

// Of two sorted lists, ranks first .. first + count - 1 of their union.
template <int first, int n, int m, int count>
MAGNET_DEVICE void merge_keys(const int32_t (&a)[n], const int32_t (&b)[m], int32_t (&out)[count]) {
  using Network = median::Merge<n, m, first, count>;
  int32_t wire[n + m];
#pragma unroll
  for (int i = 0; i < n; ++i) wire[i] = a[i];
#pragma unroll
  for (int i = 0; i < m; ++i) wire[n + i] = b[i];
  run_network<Network, 0>(wire);
  take_outputs<Network>(wire, out, std::make_integer_sequence<int, count>());
}

// Of a sorted list of k + 1 and a sorted column of k, the middle one.
template <int k>
MAGNET_DEVICE int32_t middle_key(const int32_t (&list)[k + 1], const int32_t (&column)[k]) {
  int32_t middle = list[0];
#pragma unroll
  for (int i = 1; i <= k; ++i) middle = larger(middle, smaller(list[i], column[k - i]));
  return middle;
}

}  // namespace magnet::cuda
