"""What refine_step and refine_step_ are called with, rightly and wrongly."""

from __future__ import annotations

import torch
from seeded import probs

BASE = torch.zeros(2, 3, 4, 5)
BAD_ARGUMENTS = [
    ({"coarse": "map"}, TypeError, "coarse"),
    ({"coarse": BASE.int()}, TypeError, "coarse"),
    ({"coarse": BASE[0]}, ValueError, "coarse"),
    ({"coarse": BASE[:, :1], "fine": BASE[:, :1]}, ValueError, "coarse"),
    ({"fine": None}, TypeError, "fine"),
    ({"fine": BASE.double()}, TypeError, "fine"),
    ({"fine": BASE.to("meta")}, ValueError, "fine"),
    ({"fine": BASE[:1]}, ValueError, "fine"),
    ({"fine": BASE[:, :2]}, ValueError, "fine"),
    ({"fine": BASE[:, :, :3]}, ValueError, "coarse"),
    ({"fine": BASE[..., :4]}, ValueError, "coarse"),
    ({"coarse": BASE[:, :, :0]}, ValueError, "coarse"),
    *(({"n_points": bad}, ValueError, "n_points") for bad in (0.0, 1.5, True, -1, -0.5, "9", None, float("nan"))),
    *(({"kernel_size": bad}, ValueError, "kernel_size") for bad in (0, 2, 17, -3, 3.0, None, True)),
    ({"mask": torch.ones(4, 5)}, TypeError, "mask"),
    ({"mask": 1}, TypeError, "mask"),
    ({"mask": torch.ones(4, 4, dtype=torch.bool)}, ValueError, "mask"),
    ({"mask": torch.ones(2, 3, 4, 5, dtype=torch.bool)}, ValueError, "mask"),
    ({"backend": "gpu"}, ValueError, "backend"),
    ({"backend": None}, ValueError, "backend"),
]


def pair(device: str = "cpu", shape=(2, 5, 12, 17), dtype=torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(probs(f"refine.{name}", *shape).to(device, dtype) for name in ("coarse", "fine"))
