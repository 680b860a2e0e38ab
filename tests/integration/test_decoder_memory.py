"""Hostile messages, and columns of all types, are decoded within the stated memory, in a process that has no more."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from barograph_server.streams.events.batch import OUT_OF_MEMORY
from tests.support.arrow_bombs import LARGEST, TOO_LARGE
from tests.support.decoder_memory import REPEATS

ROOT = Path(__file__).resolve().parents[2]
PEAK_MIB = 512
"""Memory that the documentation states for one message."""


def decode(group: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Decode a group of messages, each with the stated memory; return decoder, message and outcome."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.decoder_memory", group, str(PEAK_MIB)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    decoders = Counter(decoder for decoder, _, _ in outcomes)
    assert len(decoders) == 3
    assert len(set(decoders.values())) == 1
    for decoder, name, outcome in outcomes:
        assert "error" not in outcome, (decoder, name, outcome)
        assert not outcome.get("omitted"), (decoder, name)
        assert OUT_OF_MEMORY not in outcome.get("dead", ()), (decoder, name)
    return [(decoder, name, outcome) for decoder, name, outcome in outcomes]


@pytest.mark.long
@pytest.mark.parametrize("encoding", ["arrow", "json"])
def test_a_message_is_decoded_within_the_stated_memory(encoding: str) -> None:
    for decoder, name, outcome in decode(encoding):
        if name in TOO_LARGE and name not in LARGEST:
            assert outcome["rows"] == 0, (decoder, name)
            assert outcome.get("dead", ["too-large"])[0] == "too-large", (decoder, name)


@pytest.mark.long
def test_every_arrow_type_is_counted_or_rejected_within_the_stated_memory() -> None:
    outcomes = {(decoder, name): outcome for decoder, name, outcome in decode("types")}
    names = {name for _, name in outcomes}
    assert len(names) > 700
    for name in names:
        counted, labels = outcomes["sketcher-arrow", name], outcomes["labels-arrow", name]
        for outcome in (counted, labels):
            # Each row is counted or has a dead letter, or the message is one dead letter.
            rows, dead_letters = outcome["rows"], outcome["dead_letters"]
            assert rows + dead_letters == 3 * REPEATS or (rows, dead_letters) == (0, 1), (name, outcome)
        assert outcomes["recorder-arrow", name]["rows"] == counted["rows"], name
    assert sum(outcomes["sketcher-arrow", name]["rows"] > 0 for name in names) > 700
