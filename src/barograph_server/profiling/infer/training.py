"""`infer` for notebooks and the command: a file or a table in memory, with options as on the command line."""

import re
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from barograph.contract import Arms, Window, parse_duration
from barograph.publisher.tables import as_table
from barograph.values import InvalidEvent

from barograph_server.profiling.infer.errors import OptionError, TableError
from barograph_server.profiling.infer.infer import DEFAULTS, InferOptions, InferResult, SeasonChoice, infer_table
from barograph_server.profiling.infer.profile import Roles
from barograph_server.profiling.infer.tables import memory_table, open_table

_TRAINING = "the training table"


def infer(
    train: Any,
    *,
    model: str,
    version: str,
    id: str | None = None,
    time: str | None = None,
    score: str | None = None,
    class_: str | None = None,
    label: str | None = None,
    latency: str | None = None,
    scores: str | None = None,
    slices: Iterable[str] = (),
    critical: Iterable[str] = (),
    pane: str | None = None,
    windows: Iterable[str] = (),
    timezone: str = DEFAULTS.timezone,
    arms: Arms | None = None,
    season: SeasonChoice = DEFAULTS.season,
    on_column: Callable[[str], None] = lambda column: None,
) -> InferResult:
    """Infer a contract and a baseline from training data, with the decision on each column.

    Args:
        train: The path of a Parquet, CSV or Arrow file, or a table (pandas, polars, pyarrow, …).
        version: The version of the model that was trained on the data.
        id: The column of ids, which is not a field.
        time: The column of event times.
        score: The column of the model's score.
        class_: The column of the predicted class.
        label: The column of the ground truth.
        latency: The column of latencies in milliseconds.
        scores: The prefix of the columns of class probabilities, `scores.` by default.
        slices: Columns whose values are slices; `a * b` crosses two.
        critical: Columns of fields whose drift pages; by default the features that explain most of the outputs.
        pane: The length of a pane, such as `1h`; by default it fits the windows.
        windows: Windows such as `1d:1h` or `last=500:14d:6h`; by default they follow from the traffic.
        timezone: The time zone of the model's users.
        arms: The arms of an A/B test.
        season: `hour_of_week` compares windows with the same hours of the week.
        on_column: Called with the name of each column before it is read.

    Raises:
        InferError: the table cannot be read, or an argument does not fit.
    """
    is_file = isinstance(train, str | Path)
    options = InferOptions(
        table=Path(train) if is_file else Path(_TRAINING),
        model=model,
        version=version,
        roles=Roles(
            id=id,
            time=time,
            score=score,
            class_=class_,
            label=label,
            latency=latency,
            scores=scores,
            slices=tuple(slices),
            critical=frozenset(critical),
        ),
        pane_s=None if pane is None else _duration("--pane", pane),
        windows=tuple(map(parse_window, windows)) or None,
        timezone=timezone,
        arms=arms,
        season=season,
        propose_critical=True,
    )
    with ExitStack() as stack:
        if is_file:
            table = stack.enter_context(open_table(options.table))
        else:
            try:
                table = memory_table(_TRAINING, as_table(train))
            except InvalidEvent as error:
                raise TableError(f"{_TRAINING}: {error}") from error
        return infer_table(table, options, on_column)


def parse_window(text: str) -> Window:
    """Parse a window such as `1d:1h`, or a window of the last events such as `last=500:14d:6h`.

    Raises:
        OptionError: the text is neither LENGTH:HOP nor last=EVENTS:LENGTH:HOP.
    """
    option = f"--window {text}"
    match = re.fullmatch(r"last=(\d{1,9}):(.*)", text)
    length, colon, hop = (match[2] if match else text).partition(":")
    if not colon or (match and not int(match[1])):
        raise OptionError(f"{option}: write the length and the hop, such as 1d:1h, or last=500:14d:6h")
    return Window(_duration(option, length), _duration(option, hop), int(match[1]) if match else 0)


def _duration(option: str, text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise OptionError(f"{option}: {error}") from None
