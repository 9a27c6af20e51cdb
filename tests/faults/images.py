"""Damaged and odd images: read alone, in a folder that is segmented, and as labels."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from faults import damage, findings
from faults.process import Worker
from PIL import Image

# (suffix, Pillow's mode, options): what the damage is done to
KINDS = (
    (".png", "RGB", {}),
    (".png", "L", {}),
    (".png", "P", {}),
    (".png", "RGBA", {}),
    (".png", "LA", {}),
    (".png", "1", {}),
    (".png", "I;16", {}),
    (".jpg", "RGB", {"quality": 90}),
    (".jpg", "RGB", {"progressive": True}),
    (".jpg", "L", {}),
    (".jpg", "CMYK", {}),
    (".tif", "RGB", {}),
    (".tif", "RGB", {"compression": "tiff_lzw"}),
    (".tif", "RGB", {"compression": "tiff_deflate"}),
    (".tif", "L", {"compression": "jpeg"}),
    (".tif", "I;16", {}),
    (".tif", "F", {}),
    (".bmp", "RGB", {}),
    (".bmp", "P", {}),
    (".webp", "RGB", {"lossless": True}),
    (".webp", "RGBA", {"quality": 80}),
)
# of these every chunk has a checksum: what is damaged is either noticed or not read
CHECKED = (".png",)
FOREIGN = (  # other formats under an image's name; none may be handed to another program
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n",
    b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF",
    b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;",
    b"P6\n2 2\n255\n" + bytes(12),
    b"\x89HDF\r\n\x1a\n" + bytes(64),
)


def picture(rng: random.Random, mode: str) -> Image.Image:
    height, width = rng.choice(((24, 40), (1, 7), (64, 64), (33, 17)))
    values = np.random.default_rng(rng.randrange(1 << 30))
    if mode in ("I;16", "F"):
        array = values.integers(0, 1 << 16, (height, width))
        return Image.fromarray(array.astype(np.uint16 if mode == "I;16" else np.float32))
    colours = Image.fromarray(values.integers(0, 256, (height, width, 4), dtype=np.uint8))
    return colours.convert("L").convert(mode) if mode in ("LA", "1") else colours.convert("RGB").convert(mode)


def write_good(path: Path, rng: random.Random) -> Path:
    """An image of a random kind; ``path`` gets its suffix."""
    suffix, mode, options = rng.choice(KINDS)
    path = path.with_suffix(suffix)
    picture(rng, mode).save(path, **options)
    return path


def write_bad(path: Path, rng: random.Random) -> Path:
    path = write_good(path, rng)
    data = rng.choice(FOREIGN) if rng.random() < 0.1 else rng.choice(damage.ALL)(path.read_bytes(), rng)
    path.write_bytes(data)
    return path


def reading(worker: Worker, rng: random.Random, folder: Path) -> list[str]:
    """One file: what a damaged one gives is refused, or, where it can be told, what the whole one gave."""
    path = write_good(folder / "x", rng)
    whole = worker.ask("read_image", str(path))
    found = findings.of_answer(whole)
    change = rng.choice(damage.ALL)
    data = change(path.read_bytes(), rng)
    path.write_bytes(data)
    answer = worker.ask("read_image", str(path))
    found += findings.of_answer(answer)
    told = change in damage.CUTS or path.suffix in CHECKED
    if told and "digest" in answer and "digest" in whole and answer["digest"] != whole["digest"]:
        found.append(f"{change.__name__} of {path.suffix}: other pixels, in silence")
    if path.read_bytes() != data:
        found.append("the file was changed")
    return found


def segmenting(model: Path) -> Callable[[Worker, random.Random, Path], list[str]]:
    """A folder of good and bad images: the good ones are all done, nothing of the user's is touched, none left over."""

    def case(worker: Worker, rng: random.Random, folder: Path) -> list[str]:
        images, out = folder / "images", folder / "out"
        images.mkdir()
        good = []
        for number in range(rng.randint(2, 6)):
            if number == 0 or rng.random() < 0.3:
                path = images / f"good{number}.png"
                picture(rng, "RGB").save(path)
                good.append(path)
            else:
                write_bad(images / f"bad{number}", rng)
        before = findings.state_of(images)
        words = ["predict", str(images), "--model", str(model), "--out", str(out)]
        answer = worker.ask("command", [*words, "--corrupt", rng.choice(("error", "skip")), "--device", "cpu"])
        found = findings.of_command(answer) + findings.of_folder(before, images) + findings.leftovers(folder)
        if answer.get("code") in (0, 1):
            found += [f"not segmented: {p.name}" for p in good if not (out / f"{p.stem}_labels.png").is_file()]
        return found

    return case


def labelling(worker: Worker, rng: random.Random, folder: Path) -> list[str]:
    """A data folder with one bad label or image: the check names the file, and changes nothing."""
    import tiny_data

    data = tiny_data.tiny_folder(folder / "data", size=(32, 48))
    victim = rng.choice(sorted((data / rng.choice(("labels", "images"))).iterdir()))
    whole, pixels = victim.read_bytes(), worker.ask("read_image", str(victim)).get("digest")
    change = rng.choice((*damage.CUTS, damage.noise, damage.nothing, damage.text))
    victim.write_bytes(change(whole, rng))
    before = findings.state_of(data)
    answer = worker.ask("command", ["data", "check", str(data), "--json", str(folder / "report.json")])
    found = findings.of_command(answer) + findings.of_folder(before, data) + findings.leftovers(folder)
    if answer.get("code") == 0 and worker.ask("read_image", str(victim)).get("digest") != pixels:
        found.append(f"{change.__name__} of {victim.name}: all is well")
    if answer.get("code") and victim.name not in json.dumps(answer["out"] + answer["err"]):
        found.append(f"{victim.name} is not named: {answer['err'][-300:]}")
    return found
