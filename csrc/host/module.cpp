#include <pybind11/pybind11.h>
namespace py = pybind11;
PYBIND11_MODULE(_host, m) {
  m.def("build_info", [] { py::dict d; d["compiler"] = __VERSION__; return d; });
}
