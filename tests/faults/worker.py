"""One process that does what the campaign asks for, job after job, so that torch is imported once.

Jobs come as lines of JSON on standard input; each answer is one line on a descriptor of its own, as commands print.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import Any

SHOWN = 4000  # characters of what a command printed


def digest(*arrays: Any) -> str:
    """Of arrays: their shapes and values."""
    import numpy as np

    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.shape} {array.dtype}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def command(words: list[str]) -> dict[str, Any]:
    """What ``magnet WORDS`` does: its exit code and what it prints."""
    from magnet.cli.main import main

    try:
        code = main(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return {"code": code}


def read_image(path: str) -> dict[str, Any]:
    from magnet.images.read import read_image

    return {"digest": digest(read_image(path))}


def load_model(folder: str) -> dict[str, Any]:
    """Load a model and segment noise: the weights, and whether the answer is one."""
    import numpy as np

    import magnet

    model = magnet.MagNet.from_pretrained(folder)
    weights = [value.detach().float().numpy() for _, value in sorted(model.state_dict().items())]
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    prediction = model.predict(image)
    good = tuple(prediction.labels.shape) == (48, 64) and bool(prediction.probabilities.isfinite().all())
    return {"digest": digest(*weights), "good": good}


def read_checkpoint(path: str) -> dict[str, Any]:
    from magnet.checkpoints.state_dicts import read_state_dict

    return {"digest": digest(*[value.float().numpy() for _, value in sorted(read_state_dict(path).items())])}


def operator(seed: str) -> dict[str, Any]:
    from faults import operators

    return operators.run(seed)


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "command": command,
    "load_model": load_model,
    "operator": operator,
    "read_checkpoint": read_checkpoint,
    "read_image": read_image,
}


def do(job: str, argument: Any) -> dict[str, Any]:
    """The answer: what the job gave, or how it was refused, or the traceback of anything else."""
    from magnet.errors import MagNetError

    try:
        return JOBS[job](argument)
    except MagNetError as error:
        return {"refused": str(error)}
    except BaseException:
        return {"traceback": traceback.format_exc()}


def serve(answers: Any) -> None:
    import torch

    torch.set_num_threads(1)
    for line in sys.stdin:
        job, argument = json.loads(line)
        with tempfile.TemporaryFile("w+b") as out, tempfile.TemporaryFile("w+b") as err:
            kept = os.dup(1), os.dup(2)
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            begin = time.monotonic()
            answer = do(job, argument)
            answer["seconds"] = time.monotonic() - begin
            sys.stdout.flush()
            sys.stderr.flush()
            for number, descriptor in zip((1, 2), kept, strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)
            for name, stream in (("out", out), ("err", err)):
                stream.seek(0)
                answer[name] = stream.read(SHOWN).decode(errors="replace")
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose names are not for import
    serve(os.fdopen(int(sys.argv[1]), "w"))
