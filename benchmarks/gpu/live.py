"""``python -m gpu.live BACKEND``: exit code 1, and the reason, where a backend cannot run refine_step here."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from magnet_kernels import available_backends


def main(arguments: Sequence[str]) -> int:
    reason = available_backends()["refine_step"][arguments[0]]
    if reason != "ok":
        print(f"backend {arguments[0]} is not live: {reason}")
    return int(reason != "ok")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
