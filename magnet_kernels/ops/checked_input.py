"""checked_input: the input of an exported program, refused where it is another than that it was exported for.

Compilers take the sizes of an exported program as given: their code reads as far as these go, whatever it is handed. An
operator sees the tensor itself. There is no public function: programs that are compiled ahead begin with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from magnet_kernels import _library
from magnet_kernels._dispatcher import NAMESPACE
from magnet_kernels.reference import checked_input as reference


def _fake(x: Tensor, shape: Sequence[int], device: str) -> Tensor:
    """The result without its values.

    It comes here too where a compiled program is given a tensor without memory, which it would read from address 0: one
    of the device "meta" is refused, and of a fake one, which a tracer's cannot be told from, so is reading the result.
    """
    if x.device.type == "meta":
        reference.check_input(x, shape, device)
    result = x.new_empty(shape)
    torch._C._set_throw_on_mutable_data_ptr(result)
    return result


checked_input = _library.define(
    "checked_input(Tensor x, int[] shape, str device) -> Tensor",
    reference=reference.checked_input,
    fake=_fake,
)
# nested tensors have kernels of their own alone: without one, torch's error does not say what was expected
_library.implement(NAMESPACE, "checked_input", reference.checked_input, "CompositeImplicitAutogradNestedTensor")
