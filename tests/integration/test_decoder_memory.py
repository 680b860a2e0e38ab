"""Hostile messages are decoded within the stated memory, in a process that has no more."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from streams.events.batch import OUT_OF_MEMORY
from tests.support.arrow_bombs import LARGEST, TOO_LARGE

ROOT = Path(__file__).resolve().parents[2]
PEAK_MIB = 512
"""Memory that docs/events.md states for one message."""


@pytest.mark.long
@pytest.mark.parametrize("encoding", ["arrow", "json"])
def test_a_message_is_decoded_within_the_stated_memory(encoding: str) -> None:
    stated = re.search(r"at most (\d+) MiB of memory", (ROOT / "docs" / "events.md").read_text())
    assert stated
    assert int(stated[1]) == PEAK_MIB
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.decoder_memory", encoding, str(PEAK_MIB)],
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
        if name in TOO_LARGE and name not in LARGEST:
            assert outcome["rows"] == 0, (decoder, name)
            assert outcome.get("dead", ["too-large"])[0] == "too-large", (decoder, name)
