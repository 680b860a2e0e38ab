"""Each decoder on the corpus of the fuzzer and on random mutations of it: the short form of `make fuzz`."""

import random

import pytest

from barograph_server.streams.sketcher.summarise import FlushSummaries
from tests.fuzz.corpus import read_corpus
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import GOOD, TARGETS, run

MUTATIONS = 100
SEED = 20261126


def mutated(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Mutate an input: flip bits, delete or repeat bytes, or append bytes of another input."""
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
def test_inputs_of_the_corpus_are_decoded_or_rejected(target: str) -> None:
    inputs = [*seeds()[target], *read_corpus(target)]
    assert len(inputs) > len(seeds()[target]), "the corpus has inputs of every target"
    for data in inputs:
        run(target, data)


@pytest.mark.parametrize("target", TARGETS)
def test_mutated_inputs_are_decoded_or_rejected(target: str) -> None:
    rng = random.Random(f"{SEED} {target}")
    inputs = [*seeds()[target], *read_corpus(target)]
    for _ in range(MUTATIONS):
        run(target, mutated(rng.choice(inputs), rng.choice(inputs), rng))


def test_a_fault_after_decoding_is_found_for_every_accepted_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(FlushSummaries, "add", fail)
    with pytest.raises(ZeroDivisionError):
        run("predictions-json", GOOD)
    run("predictions-json", b"{")
