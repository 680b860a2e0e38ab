"""Each decoder on the inputs that fuzzing has kept, and on random changes of them: the short form of `make fuzz`."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.corpus import read_corpus
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS, run

CHANGED = 300
SEED = 20261126


def mutated(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, cut, doubled, or continued with those of another input."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(5):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << rng.randrange(8)
            case 1:
                del changed[at : at + rng.randint(1, 8)]
            case 2:
                changed[at:at] = changed[at : at + rng.randint(1, 32)]
            case 3:
                changed[at:] = other[rng.randrange(len(other) + 1) :]
            case _:
                changed[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"NaN", b'"}]', b"\x00"))
    return bytes(changed)


@pytest.mark.parametrize("target", TARGETS)
def test_what_fuzzing_has_kept_is_read_or_refused(target: str) -> None:
    retained = [*seeds()[target], *read_corpus(target)]
    assert len(retained) > len(seeds()[target]), "fuzzing keeps inputs of every target"
    for data in retained:
        run(target, data)


@pytest.mark.parametrize("target", TARGETS)
def test_what_departs_from_it_is_read_or_refused(target: str) -> None:
    rng = random.Random(f"{SEED} {target}")
    retained = [*seeds()[target], *read_corpus(target)]
    for _ in range(CHANGED):
        run(target, mutated(rng.choice(retained), rng.choice(retained), rng))
