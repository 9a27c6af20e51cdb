"""What happens to files: cut short, bits turned, parts lost, doubled or overwritten, the wrong content altogether."""

from __future__ import annotations

import random
from collections.abc import Callable


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def cut_a_little(data: bytes, rng: random.Random) -> bytes:
    return data[: len(data) - rng.randint(1, min(16, len(data)))]


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


CUTS: tuple[Callable[[bytes, random.Random], bytes], ...] = (cut, cut_a_little)
FLIPS = (turn_bits, turn_bits_of_header, zeros)
ALL = (*CUTS, *FLIPS, lose, double, noise, nothing, text)
