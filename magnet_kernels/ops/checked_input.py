"""checked_input: the input of an exported program, refused where it is another than that it was exported for.

Compilers take the sizes of an exported program as given: their code reads as far as these go, whatever it is handed. An
operator sees the tensor itself. There is no public function: programs that are compiled ahead begin with it.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from magnet_kernels import _library
from magnet_kernels.reference import checked_input as reference


def _fake(x: Tensor, shape: Sequence[int], device: str) -> Tensor:
    return x.new_empty(shape)


checked_input = _library.define(
    "checked_input(Tensor x, int[] shape, str device) -> Tensor",
    reference=reference.checked_input,
    fake=_fake,
)
