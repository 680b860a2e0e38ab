"""Work cut into statements: what bounds the memory of each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from streams.scorer.rules import by_dimensions
from streams.scorer.windows import start_of
from warehouse.client import Client
from warehouse.scoring import arrivals
from warehouse.scoring.rules import Rules

ROWS_AT_ONCE = 2_000_000
"""So many predictions are joined by one statement, and a window more."""
KEYS_AT_ONCE = 1000
"""So many windows or hours a statement names."""


def chunks(client: Client, rules: Rules, windows: Collection[int], breaks: list[int]) -> Iterator[list[int]]:
    """Cut score windows (starts) into what one statement counts, each of one set of baselines.

    Windows without raw predictions fall out.
    """
    for group in by_dimensions(windows, breaks):
        rows: dict[int, int] = {}
        for part in slices(group, KEYS_AT_ONCE):
            for hour, n in arrivals.rows_by_hour(client, rules, rules.hours_of(part)).items():
                start = start_of(hour, rules.window_s)
                rows[start] = rows.get(start, 0) + n
        yield from cut(rows.keys(), rows, ROWS_AT_ONCE)


def cut(keys: Collection[int], rows: Mapping[int, int], most: int) -> Iterator[list[int]]:
    """Cut keys, ascending, into runs of at most so many rows, or of one key."""
    run: list[int] = []
    held = 0
    for key in sorted(keys):
        n = rows.get(key, 0)
        if run and (held + n > most or len(run) >= KEYS_AT_ONCE):
            yield run
            run, held = [], 0
        run.append(key)
        held += n
    if run:
        yield run


def slices(values: Sequence[int], most: int) -> Iterator[list[int]]:
    """Cut a sequence into parts of at most so many."""
    for at in range(0, len(values), most):
        yield list(values[at : at + most])
