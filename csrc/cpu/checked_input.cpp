// checked_input: the input of an exported program, refused where it is another than that it was exported for.
#include "binding/input_check.h"

STABLE_TORCH_LIBRARY_FRAGMENT(magnet_kernels, m) {
  m.def("checked_input(Tensor x, int[] shape, str device) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(magnet_kernels, CPU, m) { m.impl("checked_input", TORCH_BOX(&magnet::checked_input)); }
