"""The board: bars on a terminal, lines now and then elsewhere, the same numbers in both."""

from __future__ import annotations

import io
from collections.abc import Callable

from rich.console import Console

from cli.demo.progress_board import ProgressBoard
from cli.demo.stage_counts import StageCount
from cli.terminal import Terminal


def clock(*times_s: float) -> Callable[[], float]:
    left = list(times_s)
    return lambda: left.pop(0)


def counts(published: int, sketched: int) -> dict[str, StageCount]:
    return {"published": StageCount(published), "sketched": StageCount(sketched, 1234.4, 7)}


TOTALS = {"published": 1000, "sketched": 2000}


def test_lines_are_printed_every_five_seconds_and_at_the_end() -> None:
    out = io.StringIO()
    with ProgressBoard(
        Terminal(Console(file=out, width=200), is_wide=False), TOTALS, clock=clock(0, 2, 4.9, 5, 6)
    ) as board:
        board.show(counts(0, 0))
        board.show(counts(400, 100))
        board.show(counts(500, 100))
        board.show(counts(510, 1000))
        board.show(counts(1000, 2000), last=True)
    assert out.getvalue().splitlines() == [
        "  published 0 of 1,000 (starting), sketched 0 of 2,000 (1,234/s, 7 messages behind)",
        "  published 510 of 1,000 (100/s), sketched 1,000 of 2,000 (1,234/s, 7 messages behind)",
        "  published 1,000, sketched 2,000",
    ]


def test_bars_show_counts_rates_and_lag() -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True, legacy_windows=False)
    with ProgressBoard(Terminal(console), TOTALS, clock=clock(0, 1)) as board:
        board.show(counts(250, 500))
        board.show(counts(750, 2000))
    last = out.getvalue()
    assert "750 / 1,000" in last
    assert "500/s" in last
    assert "2,000 / 2,000" in last
