"""Shows the progress of the stages: bars on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from barograph_server.examples.demo.stage_counts import StageCount
from barograph_server.terminal import Terminal

LINE_EVERY_S = 5.0


class ProgressBoard:
    """Progress display of a replay; a context manager."""

    def __init__(
        self, terminal: Terminal, totals: Mapping[str, int], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Create the display.

        Args:
            terminal: where it is shown.
            totals: number of events per stage, by name, in pipeline order.
            clock: seconds.
        """
        self._terminal, self._totals, self._clock = terminal, dict(totals), clock
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._before: dict[str, tuple[float, int]] = {}
        self._line_s = -LINE_EVERY_S

    def __enter__(self) -> Self:
        if self._terminal.console.is_terminal:
            self._bars = Progress(
                TextColumn("  {task.description:<10}"),
                BarColumn(bar_width=30),
                TextColumn("{task.completed:>9,.0f} / {task.total:<9,.0f}"),
                TextColumn("{task.fields[note]}"),
                console=self._terminal.console,
            )
            for stage, total in self._totals.items():
                self._tasks[stage] = self._bars.add_task(stage, total=total, note="")
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def show(self, counts: Mapping[str, StageCount], *, last: bool = False) -> None:
        """Show the counts. Without a terminal, print a line every few seconds, and always the last one."""
        now_s = self._clock()
        notes = {stage: self._note(stage, count, now_s) for stage, count in counts.items()}
        if self._bars is not None:
            for stage, count in counts.items():
                self._bars.update(self._tasks[stage], completed=count.done, note=notes[stage])
        elif last or now_s - self._line_s >= LINE_EVERY_S:
            self._line_s = now_s
            stages = [
                f"{stage} {count.done:,}"
                + (f" of {self._totals[stage]:,}" if self._is_open(stage, count) else "")
                + (f" ({notes[stage]})" if notes[stage] else "")
                for stage, count in counts.items()
            ]
            self._terminal.line("  " + ", ".join(stages))

    def _is_open(self, stage: str, count: StageCount) -> bool:
        return count.done < self._totals[stage]

    def _note(self, stage: str, count: StageCount, now_s: float) -> str:
        """Rate and lag of an unfinished stage."""
        rate = self._rate(stage, count, now_s)
        if not self._is_open(stage, count):
            return ""
        if not count.done and count.rate is None:
            return "starting"
        parts = [f"{rate:,.0f}/s"] if rate >= 1 else []
        if count.lag:
            parts.append(f"{count.lag:,} messages behind")
        return ", ".join(parts)

    def _rate(self, stage: str, count: StageCount, now_s: float) -> float:
        """The rate reported by the processor, otherwise the rate since the last call."""
        then_s, before = self._before.get(stage, (now_s, count.done))
        self._before[stage] = (now_s, count.done)
        if count.rate is not None:
            return count.rate
        return (count.done - before) / (now_s - then_s) if now_s > then_s else 0.0
