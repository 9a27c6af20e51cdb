// The host module: what was built. Needs no torch.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

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

}  // namespace
}  // namespace magnet

PYBIND11_MODULE(_host, m) {
  using namespace magnet;
  m.doc() = "Build information.";
  m.def("build_info", &build_info, "Compiler, instruction sets compiled for and the one in use.");
}
