"""Case number to model file: the same bytes for the same seed and number."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import onnx
from google.protobuf.message import DecodeError, EncodeError

import bombs
import fields
import seeds
import tensors
import wiring

IN_PLACE = (*fields.CLASSES, *tensors.CLASSES, *wiring.CLASSES)
# Of a hundred cases: models made for one operator, files whose bytes were changed, seeds as they
# are (the dims and values may do), and two or three mutations in one.
BOMBS, BYTES, UNTOUCHED, COMBINED = 28, 5, 2, 22


class Case(NamedTuple):
    number: int
    salt: int
    seed_model: str
    classes: str
    data: bytes


def byte_flips(data: bytearray, rng: Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def byte_values(data: bytearray, rng: Random) -> None:
    """Early bytes, where the structure is, become 0, 127, 128 or 255."""
    for _ in range(rng.choice((1, 2, 4))):
        data[rng.randrange(min(len(data), 400))] = rng.choice((0, 127, 128, 255))


def file_truncated(data: bytearray, rng: Random) -> None:
    del data[rng.randrange(len(data)):]


def span_removed(data: bytearray, rng: Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 2, 8, 64))]


def span_copied(data: bytearray, rng: Random) -> None:
    at, to = rng.randrange(len(data)), rng.randrange(len(data))
    data[to:to] = data[at : at + rng.choice((1, 8, 64, 1000))]


def varint_long(data: bytearray, rng: Random) -> None:
    """A number that never ends, or is larger than the file."""
    at = rng.randrange(min(len(data), 400))
    long = (b"\xff" * 9 + b"\x01", b"\xff" * 12, b"\xff\xff\xff\xff\x07", b"\x80" * 5 + b"\x00")
    data[at : at + 1] = rng.choice(long)


ON_BYTES = (byte_flips, byte_flips, byte_values, file_truncated, span_removed, span_copied, varint_long)


def salt(run_seed: int, number: int) -> int:
    """What decides the dims and values of a case."""
    return (run_seed * 1_000_003 + number) & 0xFFFFFFFF


def case(run_seed: int, number: int) -> Case:
    rng = Random(f"{run_seed}:{number}")
    lot = rng.randrange(100)
    if lot < BOMBS:
        name, data = bombs.some_bomb(rng)
        return Case(number, salt(run_seed, number), "-", name, data)
    seed_model, data = _some_seed(rng)
    if lot < BOMBS + BYTES:
        change = rng.choice(ON_BYTES)
        changed = bytearray(data)
        change(changed, rng)
        return Case(number, salt(run_seed, number), seed_model, change.__name__, bytes(changed))
    if lot < BOMBS + BYTES + UNTOUCHED:
        return Case(number, salt(run_seed, number), seed_model, "untouched", data)
    count = rng.choice((2, 2, 3)) if lot >= 100 - COMBINED else 1
    names, data = mutated(data, count, rng)
    return Case(number, salt(run_seed, number), seed_model, "+".join(names), data)


def mutated(data: bytes, count: int, rng: Random) -> tuple[list[str], bytes]:
    """`count` mutations, one after the other; those that do not apply are drawn anew."""
    weights = [w for w, _ in IN_PLACE]
    model = onnx.ModelProto.FromString(data)
    names: list[str] = []
    for _ in range(40):
        if len(names) == count:
            break
        change = rng.choices(IN_PLACE, weights)[0][1]
        try:
            if change(model, rng) is False:
                continue
            data = model.SerializeToString()
            names.append(change.__name__)
        except (EncodeError, DecodeError, ValueError):  # too deep for protobuf itself
            model = onnx.ModelProto.FromString(data)
    return names, data


def _some_seed(rng: Random) -> tuple[str, bytes]:
    """A made one mostly; a real one, which takes longer, at times."""
    made = [m.__name__ for m in seeds.MADE]
    name = rng.choice(made) if rng.random() < 0.88 else rng.choice(list(seeds.REAL))
    data = seeds.seed(name)
    return (name, data) if data is not None else ("mlp", seeds.seed("mlp"))
