// The host module: what was built, and the host side of csrc/common for tests. Needs no torch.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <bit>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "common/bilinear.h"
#include "common/boxes.h"
#include "common/median_network.h"
#include "common/order_key.h"
#include "common/roi_align.h"
#include "common/top_two.h"
#include "cpu/simd/isa.h"

namespace py = pybind11;

namespace magnet {
namespace {

std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#elif defined(__GNUC__)
  return "gcc " __VERSION__;
#else
  return "unknown";
#endif
}

py::dict build_info() {
  std::vector<std::string> compiled{isa_name(Isa::baseline)};
#if MAGNET_X86
  compiled = {isa_name(Isa::baseline), isa_name(Isa::avx2), isa_name(Isa::avx512)};
#endif
  py::dict info;
  info["compiler"] = compiler();
  info["compiled_instruction_sets"] = compiled;
  info["instruction_set"] = isa_name(isa());
  return info;
}

std::tuple<float, float> top_two(const std::vector<float>& values) {
  TopTwo top;
  for (float value : values) update(top, value);
  return {top.first, top.second};
}

float margin_of(const std::vector<float>& values) {
  TopTwo top;
  for (float value : values) update(top, value);
  return margin(top);
}

std::tuple<int64_t, int64_t, double> tap(int64_t index, int64_t in_size, int64_t out_size, bool wide) {
  if (in_size < 1 || out_size < in_size || index < 0 || index >= out_size) {
    throw std::invalid_argument("bilinear_tap: expected 0 <= index < out_size and 1 <= in_size <= out_size");
  }
  if (wide) {
    const BilinearTap<double> result = bilinear_tap<double>(index, in_size, out_size);
    return {result.low, result.high, result.weight};
  }
  const BilinearTap<float> result = bilinear_tap<float>(index, in_size, out_size);
  return {result.low, result.high, result.weight};
}

// Passes `values` through a network of min and max; returns what its outputs hold.
std::vector<float> run_network(const median::Network& network, std::vector<float> values) {
  for (int i = 0; i < network.size; ++i) {
    const median::Exchange exchange = network.exchanges[i];
    const float a = values[exchange.low], b = values[exchange.high];
    if (exchange.want_low) values[exchange.low] = a < b ? a : b;
    if (exchange.want_high) values[exchange.high] = a < b ? b : a;
  }
  std::vector<float> result;
  for (int i = 0; i < network.outputs; ++i) result.push_back(values[network.output[i]]);
  return result;
}

std::vector<float> sort_values(const std::vector<float>& values) {
  if (values.empty() || values.size() > 15) throw std::invalid_argument("sort_values: expected 1 to 15 values");
  return run_network(median::sort_network(static_cast<int>(values.size())), values);
}

std::vector<float> merge_values(std::vector<float> a, const std::vector<float>& b, int first, int count) {
  const int total = static_cast<int>(a.size() + b.size());
  if (a.empty() || b.empty() || total > 120 || first < 0 || count < 1 || first + count > total) {
    throw std::invalid_argument("merge_values: expected two sorted lists, 120 values in all, and ranks among them");
  }
  const median::Network network =
      median::merge_network(static_cast<int>(a.size()), static_cast<int>(b.size()), first, count);
  a.insert(a.end(), b.begin(), b.end());
  return run_network(network, a);
}

}  // namespace
}  // namespace magnet

PYBIND11_MODULE(_host, m) {
  using namespace magnet;
  using Key32 = OrderKey<Float32Format>;
  m.doc() = "Build information, and the host side of the functions that every backend shares.";
  m.def("build_info", &build_info, "Compiler, instruction sets compiled for and the one in use.");
  m.def("top_two", &top_two, "The two highest values, as top_two.h keeps them.");
  m.def("margin", &margin_of, "Highest minus second highest value; 0 where that is not a number.");
  m.def("uncertainty", &uncertainty, "(1 - coarse confidence) * fine confidence; 0 where that is not a number.");
  m.def("median_key", [](float x) { return Key32::median_key(std::bit_cast<uint32_t>(x)); }, "Signed, NaN lowest.");
  m.def("from_median_key", [](int32_t key) { return std::bit_cast<float>(Key32::from_median_key(key)); });
  m.def(
      "selection_key", [](float x) { return Key32::selection_key(std::bit_cast<uint32_t>(x)); },
      "Unsigned, 0 is below every float; -0 equals 0, all NaN are equal and lowest.");
  m.def("bilinear_tap", &tap, py::arg("index"), py::arg("in_size"), py::arg("out_size"), py::arg("wide") = false,
        "(low, high, weight of high) of an output element.");
  m.def("sort_values", &sort_values, "Through the sorting network of that many wires.");
  m.def("merge_values", &merge_values,
        "Ranks first .. first + count - 1 of two sorted lists, through a merge network.");
  m.def("round_half_even", &round_half_even);
  m.def(
      "roi_sample",
      [](double start, double end, int64_t output_size, bool aligned, int64_t output, int64_t sample, int64_t size) {
        const RoiAxis axis = roi_axis<double>(start, end, output_size, aligned);
        const RoiSample at = roi_sample(axis, output, sample, size);
        return std::make_tuple(axis.samples, at.low, at.high, at.weight, at.inside);
      },
      py::arg("start"), py::arg("end"), py::arg("output_size"), py::arg("aligned"), py::arg("output"),
      py::arg("sample"), py::arg("size"), "(samples of an output, low, high, weight of high, inside) along one axis.");
}
