"""What happens to files: cut short, bits turned, parts lost, doubled or overwritten, the wrong content altogether."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def cut_a_little(data: bytes, rng: random.Random) -> bytes:
    return data[: len(data) - rng.randint(1, min(16, len(data)))]


def cut_and_close(data: bytes, rng: random.Random) -> bytes:
    """Data that end early and are closed as they should be: of a baseline JPEG, or a PNG; other files are cut."""
    share = rng.uniform(0.1, 0.7)
    scan = data.find(b"\xff\xda")
    if data.startswith(b"\xff\xd8") and b"\xff\xc0" in data[:scan] and len(data) - scan > 400:
        kept = data[: scan + 20 + int(share * (len(data) - scan - 20))].rstrip(b"\xff")
        return kept + b"\xff" * rng.choice((0, 1, 7)) + b"\xff\xd9"
    first = data.find(b"IDAT")
    if data.startswith(b"\x89PNG") and first > 0:
        end = data.rfind(b"IEND")
        pixels, at = b"", first - 4
        while data[at + 4 : at + 8] == b"IDAT":
            length = int.from_bytes(data[at : at + 4], "big")
            pixels, at = pixels + data[at + 8 : at + 8 + length], at + 12 + length
        rows = zlib.decompress(pixels)
        content = b"IDAT" + zlib.compress(rows[: int(share * len(rows))])
        chunk = (len(content) - 4).to_bytes(4, "big") + content + zlib.crc32(content).to_bytes(4, "big")
        return data[: first - 4] + chunk + data[end - 4 :]
    return cut(data, rng)


def turn_bits(data: bytes, rng: random.Random) -> bytes:
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 4, 32))):
        result[rng.randrange(len(result))] ^= 1 << rng.randrange(8)
    return bytes(result)


def turn_bits_of_header(data: bytes, rng: random.Random) -> bytes:
    result = bytearray(data)
    for _ in range(rng.choice((1, 2, 4))):
        result[rng.randrange(min(64, len(result)))] = rng.randrange(256)
    return bytes(result)


def zeros(data: bytes, rng: random.Random) -> bytes:
    first = rng.randrange(len(data))
    count = min(rng.choice((4, 64, 1024)), len(data) - first)
    return data[:first] + bytes(count) + data[first + count :]


def lose(data: bytes, rng: random.Random) -> bytes:
    first = rng.randrange(len(data))
    return data[:first] + data[first + rng.choice((1, 4, 512)) :]


def double(data: bytes, rng: random.Random) -> bytes:
    first = rng.randrange(len(data))
    end = first + rng.choice((1, 4, 512))
    return data[:end] + data[first:]


def noise(data: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(len(data))


def nothing(data: bytes, rng: random.Random) -> bytes:
    return b""


def text(data: bytes, rng: random.Random) -> bytes:
    return rng.choice(
        (b"<html><body>404 Not Found</body></html>", b"version https://git-lfs.github.com/spec/v1\n", b"{}")
    )


CUTS: tuple[Callable[[bytes, random.Random], bytes], ...] = (cut, cut_a_little, cut_and_close)
FLIPS = (turn_bits, turn_bits_of_header, zeros)
ALL = (*CUTS, *FLIPS, lose, double, noise, nothing, text)
