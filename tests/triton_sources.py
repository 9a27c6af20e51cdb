"""What Triton's JIT compiles a kernel for, of the arguments of a launch; and so, how many kernels launches need."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Specialised", "key_of", "source_of", "specialised"]


class Specialised(NamedTuple):
    """Types of all parameters by name; constants and attributes by place; (value, type) of those that are passed."""

    signature: dict[str, str]
    constants: dict[tuple[int], Any]
    attributes: dict[tuple[int], Any]
    passed: list[tuple[Any, str]]


def specialised(kernel: Any, arguments: tuple[Any, ...], constants: dict[str, Any]) -> Specialised:
    """As the JIT does, by the function that it asks."""
    from triton._C.libtriton import native_specialize_impl
    from triton.backends.nvidia.compiler import CUDABackend

    found = Specialised({}, {}, {}, [])
    for i, parameter in enumerate(kernel.params):
        name = parameter.name
        if parameter.is_constexpr:
            kind, key, value = "constexpr", None, constants[name]
        else:
            value = arguments[i]
            kind, key = native_specialize_impl(
                CUDABackend,
                value,
                parameter.is_const,
                not parameter.do_not_specialize,
                not parameter.do_not_specialize_on_alignment,
            )
        found.signature[name] = kind
        if kind == "constexpr":
            found.constants[(i,)] = value
            continue
        found.passed.append((value, kind))
        if key == "D":
            found.attributes[(i,)] = [["tt.divisibility", 16]]
    return found


def source_of(kernel: Any, arguments: tuple[Any, ...], constants: dict[str, Any]) -> Any:
    """What triton.compile takes."""
    from triton.compiler import ASTSource

    signature, fixed, attributes, _ = specialised(kernel, arguments, constants)
    return ASTSource(kernel, signature, fixed, attributes)


def key_of(kernel: Any, arguments: tuple[Any, ...], constants: dict[str, Any], options: dict[str, Any]) -> str:
    """The same for launches that one compiled kernel serves."""
    signature, fixed, attributes, _ = specialised(kernel, arguments, constants)
    names = {f"{kernel.params[i].name}": value for (i,), value in fixed.items()}
    aligned = [kernel.params[i].name for (i,) in attributes]
    types = {name: kind for name, kind in signature.items() if kind != "constexpr"}
    return f"{kernel.__name__} {names} {types} multiples of 16: {aligned} {options}"
