"""The wait for the scorer's checkpoint."""

from __future__ import annotations

from typing import Any

import pytest

from cli.demo.errors import DemoError
from cli.demo.shadow import evidence
from cli.demo.shadow.evidence import CHECKPOINT_S, wait_until_processed


def test_the_wait_ends_as_soon_as_all_rows_are_processed(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False, False, True])
    monkeypatch.setattr(evidence, "is_processed", lambda client: next(answers))
    pauses: list[float] = []
    client: Any = None
    wait_until_processed(client, pauses.append)
    assert len(pauses) == 2


def test_a_checkpoint_that_does_not_advance_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "is_processed", lambda client: False)
    pauses: list[float] = []
    client: Any = None
    with pytest.raises(DemoError, match="has not passed all rows for 180 s"):
        wait_until_processed(client, pauses.append)
    assert sum(pauses) == CHECKPOINT_S
