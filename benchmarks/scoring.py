"""Cost of the scorer's passes over two weeks of a model.

The first pass, passes after corrections of labels, and idle passes are measured.

SQL generates predictions and labels inside the engine in the form of the recorder: calibrated scores; labels with a
delay of twelve hours on average (exponential); a tenth of the labels never arrives. Then some labels of some hours are
corrected to the opposite value.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from barograph.contract import Arms, Contract, LabelSpec, Slice, Window

from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.scorer.worker import QUERY_TIMEOUT_S, Scorer
from barograph_server.warehouse import migrate
from barograph_server.warehouse.client import Client, connect
from benchmarks.figures import Figures, spread
from benchmarks.stack import Testbed

SCORING = "The scorer, over two weeks"
DATABASE, MODEL = "scoring", "scored"
DAYS = 14
HOUR_S, DAY_S = 3600, 86400
PARTITIONS = 4
COVERED = 0.9
MEAN_DELAY_S = 12 * HOUR_S
HORIZON_S, CORRECTED_S = 3 * DAY_S, 3 * DAY_S - HOUR_S
AT_ONCE = 1_000_000
"""Rows per INSERT statement."""
CORRECTED_HOURS = (4, 40)
FIRST_CORRECTED_HOUR = 3 * 24 + 12
"""Labels are corrected from this hour of the two weeks on."""
QUIET_PASSES = 5

CONTRACT = Contract(
    model=MODEL,
    slices=(Slice(name="country", source="context.country", values=("de", "es", "fr", "it")),),
    arms=Arms(shares={"a": 0.5, "b": 0.5}),
    windows=(Window(HOUR_S, HOUR_S), Window(7 * DAY_S, DAY_S)),
    label=LabelSpec(type="bool", positive=True, horizon_s=HORIZON_S),
)


@dataclass(frozen=True, slots=True)
class Traffic:
    """SQL expressions for the rows of the two weeks, over the row's `number`."""

    n: int
    start_s: int

    @property
    def end_s(self) -> int:
        return self.start_s + DAYS * DAY_S

    def predictions(self) -> dict[str, str]:
        """Column → expression for `predictions`."""
        return {
            **self._location_properties("number"),
            "version": "'1'",
            "at": time_column(self._at_ms()),
            "received_at": time_column(f"{self._at_ms()} + 500"),
            "arm": f"if({uniform('arm')} < 0.5, 'a', 'b')",
            "context": f"map('country', ['de', 'es', 'fr', 'it', 'nl'][1 + toUInt8({uniform('country')} * 5)])",
            "numbers": f"map('amount', toNullable(exp(5 * {uniform('amount')})))",
            "score": self._score(),
        }

    def labels(self, *, offsets: str, corrected: bool = False) -> dict[str, str]:
        """Column → expression for `labels`: first labels, or corrections of them just before the horizon."""
        truth = f"{uniform('truth')} < {self._score()}"
        at_ms = f"({self._at_ms()} + {CORRECTED_S * 1000})" if corrected else self._label_ms()
        return {
            **self._location_properties(offsets),
            "label": f"if({'NOT ' if corrected else ''}({truth}), 'true', 'false')",
            "label_type": "'bool'",
            "at": time_column(at_ms),
            "received_at": time_column(f"{at_ms} + 700"),
        }

    def has_label(self) -> str:
        """Condition: the prediction has a label before the end."""
        return f"{uniform('covered')} < {COVERED} AND {self._label_ms()} < {self.end_s * 1000}"

    def rows_of(self, hour: int) -> tuple[int, int]:
        """The numbers [first, end) of the predictions of an hour, counted from the start."""
        per_hour = self.n / (DAYS * 24)
        return int(hour * per_hour), int((hour + 1) * per_hour)

    def _location_properties(self, offsets: str) -> dict[str, str]:
        return {
            "epoch": "0",
            "partition": f"number % {PARTITIONS}",
            "offset": f"intDiv({offsets}, {PARTITIONS})",
            "message_index": "0",
            "model": f"'{MODEL}'",
            "id": "lower(hex(sipHash128(number)))",
        }

    def _at_ms(self) -> str:
        return f"({self.start_s * 1000} + intDiv(number * {DAYS * DAY_S * 1000}, {self.n}))"

    def _label_ms(self) -> str:
        return f"({self._at_ms()} + toInt64(-log(1 - {uniform('delay')}) * {MEAN_DELAY_S * 1000}))"

    def _score(self) -> str:
        odds = f"sqrt(-2 * log(1 - {uniform('size')})) * cos(2 * pi() * {uniform('turn')})"
        return f"1 / (1 + exp(1 - 1.5 * {odds}))"


def measure_scoring(testbed: Testbed, figures: Figures, *, predictions: int) -> None:
    traffic = Traffic(predictions, (int(time.time()) // DAY_S - DAYS - 1) * DAY_S)
    registry = build_registry([(CONTRACT, 1)], [])
    scorer = Scorer(
        testbed.settings(DATABASE).processor(instance="scorer-0"),
        lambda: registry,
        Report("scorer", "scorer-0"),
        clock=lambda: float(traffic.end_s + 2 * HOUR_S),
        grace_s=0.0,
    )

    def time_pass() -> tuple[float, Any]:
        """Do one pass; return its duration (s) and its result."""
        began = time.perf_counter()
        outcome = scorer.score_once()
        return time.perf_counter() - began, outcome

    with connect(testbed.address(DATABASE), timeout_s=QUERY_TIMEOUT_S, create=True) as client:
        migrate.apply(client)
        labels = written = fill(client, traffic)
        whole = f"{predictions:,} predictions, {labels:,} labels, {DAYS * 24} hours, 8 slices"
        full_s, outcome = time_pass()
        figures.add(SCORING, "the first pass", full_s, "s", f"{whole}; {outcome.revised:,} figures written")
        rows = predictions + labels
        figures.add(SCORING, "the first pass", rows / full_s, "rows/s", "predictions and labels, everything included")
        for hours in CORRECTED_HOURS:
            before, written = written, correct_labels(client, traffic, hours, labels, written)
            took_s, outcome = time_pass()
            note = f"{written - before:,} labels ({(written - before) / labels:.2%}); "
            note += f"{outcome.scored} hours counted, {outcome.revised:,} figures written"
            figures.add(SCORING, f"a pass after corrections in {hours} hours", took_s, "s", note)
            figures.add(SCORING, f"first pass ÷ pass after corrections in {hours} hours", full_s / took_s, "×")
        quiet = [time_pass()[0] * 1000 for _ in range(QUIET_PASSES)]
        figures.add(SCORING, "a pass with nothing new", median(quiet), "ms", spread(quiet))


def fill(client: Client, traffic: Traffic) -> int:
    """Write all rows; return the number of labels."""
    for first in range(0, traffic.n, AT_ONCE):
        end = min(first + AT_ONCE, traffic.n)
        insert(client, "predictions", traffic.predictions(), first, end)
        insert(client, "labels", traffic.labels(offsets="number"), first, end, traffic.has_label())
    return int(client.rows("SELECT count() FROM labels")[0][0])


def correct_labels(client: Client, traffic: Traffic, hours: int, labels: int, written: int) -> int:
    """Correct a hundredth of all labels per `CORRECTED_HOURS[0]` hours; return the number of rows of labels."""
    for hour in range(FIRST_CORRECTED_HOUR, FIRST_CORRECTED_HOUR + hours):
        first, end = traffic.rows_of(hour)
        condition = f"{uniform('corrected')} < {0.01 * labels / CORRECTED_HOURS[0] / (end - first)!r}"
        columns = traffic.labels(offsets=f"number + {traffic.n + written}", corrected=True)
        insert(client, "labels", columns, first, end, f"{traffic.has_label()} AND {condition}")
    return int(client.rows("SELECT count() FROM labels")[0][0])


def insert(client: Client, table: str, columns: Mapping[str, str], first: int, end: int, condition: str = "1") -> None:
    """Insert the rows of the numbers from `first` to `end`, exclusive, that meet a condition."""
    arguments = ", ".join(f"{value} AS {name}" for name, value in columns.items())
    rows = f"SELECT {arguments} FROM numbers({first}, {end - first}) WHERE {condition}"
    client.insert_selected(table, list(columns), rows)


def uniform(name: str) -> str:
    """A value in [0, 1) that depends on the row's number and a name."""
    return f"(cityHash64(number, '{name}') / pow(2, 64))"


def time_column(ms: str) -> str:
    return f"fromUnixTimestamp64Milli(toInt64({ms}), 'UTC')"
