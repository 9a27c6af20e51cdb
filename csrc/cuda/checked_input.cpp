// checked_input: the input of an exported program, refused where it is another than that it was exported for.
#include "binding/input_check.h"
#include "cuda/parts/binding.h"

MAGNET_CUDA_LIBRARY(m) { m.impl("checked_input", TORCH_BOX(&magnet::checked_input)); }
