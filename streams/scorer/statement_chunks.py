"""Splits work into statements, which bounds the memory of each."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from barograph.contract import SECONDS_PER_HOUR

from barograph_server.streams.scorer.rules import group_by_baselines
from barograph_server.streams.scorer.windows import window_start
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.scoring import new_rows
from barograph_server.warehouse.scoring.rules import Rules

MAX_ROWS = 2_000_000
"""Most predictions that one statement joins, unless a single window has more."""
MAX_HOURS = 1000
"""Most hours that one statement names, in the address of a request: servers limit its length, some to 64 KiB."""


def statement_chunks(
    client: Client,
    rules: Rules,
    windows: Collection[int],
    baseline_changes: list[int],
    count_rows: Callable[[Client, Rules, Sequence[int]], Mapping[int, int]] = new_rows.rows_by_hour,
) -> Iterator[list[int]]:
    """Group score windows (starts) by statement, each with one set of baselines.

    Args:
        windows: the windows; those without rows are left out.
        baseline_changes: times at which a baseline takes effect.
        count_rows: counts the rows that a statement joins, by hour.
    """
    max_windows = max(1, MAX_HOURS * SECONDS_PER_HOUR // rules.window_s)
    for group in group_by_baselines(windows, baseline_changes):
        rows: dict[int, int] = {}
        for batch in batched(group, max_windows):
            for hour, n in count_rows(client, rules, rules.hours_of(batch)).items():
                start = window_start(hour, rules.window_s)
                rows[start] = rows.get(start, 0) + n
        yield from split_by_rows(rows.keys(), rows, MAX_ROWS, max_windows)


def split_by_rows(
    keys: Collection[int], rows: Mapping[int, int], max_rows: int, max_keys: int = MAX_HOURS
) -> Iterator[list[int]]:
    """Split keys, in ascending order, into runs of at most `max_keys` keys and `max_rows` rows, or of one key."""
    run: list[int] = []
    run_rows = 0
    for key in sorted(keys):
        n = rows.get(key, 0)
        if run and (run_rows + n > max_rows or len(run) >= max_keys):
            yield run
            run, run_rows = [], 0
        run.append(key)
        run_rows += n
    if run:
        yield run


def batched(values: Sequence[int], size: int) -> Iterator[list[int]]:
    """Split a sequence into lists of at most `size` values."""
    for start in range(0, len(values), size):
        yield list(values[start : start + size])
