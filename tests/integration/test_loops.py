"""`barograph loops` on the real engine: a planted loop, no exploration, unreadable context, and errors."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_columns, insert_rows
from tests.support.command_line import run
from tests.support.warehouse import columns, row

pytestmark = pytest.mark.engine

CONTRACT = """contract: 1
model: feed
fields:
  late_aircraft: {type: float}
  seats: {type: int}
  user: {type: category, from: context.user_id}
  genre: {type: category}
"""
USERS, DAYS = 150, 40
LOOPS = ("loops", "--model", "feed", "--config")
START = datetime.now(UTC) - timedelta(days=DAYS)


def record(client: Client, exploration: float) -> None:
    """Record a prediction of each user and day; class b adds 0.6 σ to the user's next `late_aircraft`."""
    rng = np.random.default_rng(4)
    user, day = np.repeat(np.arange(USERS), DAYS), np.tile(np.arange(DAYS), USERS)
    n = len(user)
    is_b, explored = rng.random(n) < 0.5, rng.random(n) < exploration
    late = rng.standard_normal(n) + 0.6 * np.where(day > 0, np.roll(is_b, 1), 0)
    context = [
        {"user_id": f"u{i}"} | ({"exploration": "true", "propensity": "0.5"} if e else {})
        for i, e in zip(user, explored, strict=True)
    ]
    context[0] |= {"exploration": "perhaps"}
    context[1] |= {"exploration": "1", "propensity": "half"}
    at = [int((START + timedelta(days=int(d))).timestamp() * 1000) for d in day]
    values: dict[str, Any] = {
        "model": ["feed"] * n,
        "version": ["1"] * n,
        "id": [f"p{i}" for i in range(n)],
        "offset": list(range(n)),
        "at": at,
        "received_at": at,
        "context": context,
        "numbers": [{"late_aircraft": float(x), "seats": 100.0} for x in late],
        "strings": [{"genre": "news" if b else "sport"} for b in is_b],
        "class": np.where(is_b, "b", "a").tolist(),
        "error": ["Timeout" if i == 2 else "" for i in range(n)],
    }
    insert_columns(client, "predictions", columns("predictions", n, **values))
    insert_rows(client, "contracts", [row("contracts", model="feed", contract_id="c", yaml=CONTRACT)])


def test_a_planted_loop_is_likely(client: Client, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    record(client, exploration=0.5)
    assert (
        run(
            "loops",
            "--model",
            "feed",
            "--config",
            config,
            "--entity",
            "context:user_id",
            "--output",
            "class=b",
            "--lag",
            "23h",
            "--format",
            "json",
        )
        == 1
    )
    report = json.loads(capsys.readouterr().out)
    effect = report["measurement"]["effects"]["late_aircraft"]
    assert report["measurement"]["verdict"] == {"name": "likely", "reason": "", "fields": ["late_aircraft"]}
    assert effect["low"] < 0.6 < effect["high"]
    assert report["measurement"]["effects"]["seats"]["high"] == 0.0
    counts = report["population"]
    assert (counts["predictions"], counts["failed"]) == (USERS * DAYS, 1)
    assert (counts["unreadable_exploration"], counts["unreadable_propensity"]) == (1, 1)
    assert counts["explored"] == report["measurement"]["explored"] > 2_000
    assert report["exposures"]["items"] == 2
    assert sum(report["exposures"]["exposures"]) == USERS * DAYS - 1
    words = ("--entity", "user", "--items", "genre", "--field", "late_aircraft", "--output", "class=b")
    assert run(*LOOPS, config, *words, "--lag", "23h") == 1
    text = capsys.readouterr().out
    assert text.startswith(f"loop: likely (late_aircraft: {effect['value']:+.2f} [")
    assert "unreadable propensity" in text
    assert "week of genre" in text
    assert "seats" not in text


def test_nothing_is_claimed_without_exploring(client: Client, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    record(client, exploration=0.0)
    assert run(*LOOPS, config, "--entity", "context.user_id") == 2
    text = capsys.readouterr().out
    assert text.startswith("loop: cannot tell (no exploration)\n")
    assert "Trend of entropy" in text


def test_errors_say_what_to_do(client: Client, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    record(client, exploration=0.5)
    for words, message in (
        (("--entity", "tail"), "No prediction that succeeded has a value of --entity tail"),
        (("--entity", "user", "--field", "late_aircrat"), "did you mean 'late_aircraft'?"),
        (("--entity", "user", "--output", "class"), "write class=NAME, score>=NUMBER or score"),
    ):
        assert run(*LOOPS, config, *words) == 3, words
        assert message in " ".join(capsys.readouterr().err.split())
