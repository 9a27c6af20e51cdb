"""Everything that is tested on the PTX of nvcc and Triton, in one command and two processes.

    python tests/ptx/run.py            # the whole ladder under several schedules, then random cases; hours
    python tests/ptx/run.py --share    # what CI runs: minutes
    python tests/ptx/run.py fuzz ...   # random cases alone, see fuzz.py
    python tests/ptx/run.py instructions ...   # launches of each operator and their instructions, see instructions.py
    python tests/ptx/run.py build      # only compile

The whole ends with the kernels that nvcc compiled and no test launched: there must be none. A share counts them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LAUNCHED = ROOT / "build" / "ptx" / "launched"
PROCESSES = 2


def environment() -> dict[str, str]:
    folders = [ROOT / "tests", ROOT / "csrc"]
    if importlib.util.find_spec("magnet_kernels") is None:  # not installed: what is built in place
        folders.append(ROOT)
    path = os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def python(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-P", *words], cwd=ROOT, env=environment())


def side_by_side(commands: list[list[str]]) -> bool:
    """Whether all of them end well, PROCESSES at a time."""
    well, running = True, []
    for words in commands:
        if len(running) == PROCESSES:
            well &= running.pop(0).wait() == 0
        running.append(python(*words))
    return all([process.wait() == 0 for process in running]) and well


def never_launched() -> list[str]:
    """Of the newest architecture, by the names that nvcc gives them."""
    from ptx import backends

    found: set[str] = set()
    for file in LAUNCHED.glob("*.json"):
        for backend, counts in json.loads(file.read_text()).items():
            if backend in backends.CUDA:
                found |= set(counts)
    return sorted(backends.kernels().names(max(backends.CUDA.values())) - found)


def readable(names: list[str]) -> str:
    if (filt := shutil.which("c++filt")) is None:
        return "\n".join(names)
    return subprocess.run([filt], input="\n".join(names), capture_output=True, text=True, check=True).stdout


def ladder(seeds: list[int], share: bool) -> bool:
    """Each seed in two parts; in a share, few examples."""
    commands = []
    for seed in seeds:
        for part in range(1, PROCESSES + 1):
            words = ["-m", "pytest", "-q", "-m", "ptx", f"--ptx-seed={seed}", f"--ptx-part={part}/{PROCESSES}"]
            commands.append([*words, *(["--ptx-share"] if share else [])])
    return side_by_side(commands)


def main() -> int:
    parser = argparse.ArgumentParser(description="Tests of the compiled kernels, emulated.")
    parser.add_argument("--share", action="store_true", help="few examples, one schedule, no more random cases")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="schedules of the whole ladder (3)")
    parser.add_argument(
        "--fuzz", type=float, default=1800, metavar="S", help="seconds of random cases a backend (1800)"
    )
    given = parser.parse_args()
    if given.share:
        os.environ["MAGNET_PTX_INSTALLED"] = "1"
    from ptx import backends

    reasons = {backend: why for backend in backends.NAMES if (why := backends.why_not(backend)) is not None}
    for backend, why in reasons.items():
        print(f"left out: {backend}: {why}", flush=True)
    start = time.monotonic()
    shutil.rmtree(LAUNCHED, ignore_errors=True)
    well = ladder([0] if given.share else list(range(given.seeds)), given.share)
    if not given.share:
        fuzz = ["-m", "ptx.fuzz", "--seconds", str(given.fuzz)]
        well &= side_by_side([[*fuzz, "--backend", one] for one in backends.NAMES if one not in reasons])
    if not reasons and (names := never_launched()):
        if given.share:
            print(f"{len(names)} kernels were not launched by this share")
        else:
            print(f"kernels that no test launched:\n{readable(names)}")
            well = False
    print(f"{time.monotonic() - start:.0f} s: {'all is well' if well else 'FAILED'}")
    return int(not well)


def started_with_the_right_path() -> int:
    """The packages of the tests come first, and this folder is not where modules are looked for."""
    words = ["-c", "import sys; from ptx import run; sys.exit(run.main())", *sys.argv[1:]]
    if sys.argv[1:2] in (["fuzz"], ["instructions"]):
        words = ["-m", f"ptx.{sys.argv[1]}", *sys.argv[2:]]
    elif sys.argv[1:2] == ["build"]:
        words = [
            "-c",
            "from ptx import backends; print({one: backends.why_not(one) or 'ok' for one in backends.NAMES})",
        ]
    return python(*words).wait()


if __name__ == "__main__":
    sys.exit(started_with_the_right_path())
