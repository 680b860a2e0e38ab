"""Cost of the scorer's passes over two weeks of a model: the first pass, passes after corrections, and idle passes.

SQL generates predictions and labels inside the engine in the form of the recorder: calibrated scores; labels with a
delay of twelve hours on average (exponential); a tenth of the labels never arrives. Then some labels of some hours are
corrected to the opposite value.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from barograph.contract import Arms, Contract, LabelSpec, Slice, Window

from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.scorer.rules import dimensions_at, make_rules
from barograph_server.streams.scorer.worker import QUERY_TIMEOUT_S, Scorer
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse import migrate
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.scoring import state
from benchmarks.figures import Figures, spread
from benchmarks.stack import Testbed

SCORING = "The scorer, over two weeks"
DATABASE = "scoring"
MODEL = "scored"
DAYS = 14
HOUR_S, DAY_S = 3600, 86400
PARTITIONS = 4
COVERED = 0.9
MEAN_DELAY_S = 12 * HOUR_S
HORIZON_S, CORRECTED_S = 3 * DAY_S, 3 * DAY_S - HOUR_S
AT_ONCE = 1_000_000
"""Rows per INSERT statement."""
FEW_HOURS, MANY_HOURS = 4, 40
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
REGISTRY = build_registry([(CONTRACT, 1)], [])


@dataclass(frozen=True, slots=True)
class Traffic:
    """SQL expressions for the rows of the two weeks, over the row's `number`."""

    n: int
    start_s: int

    @property
    def end_s(self) -> int:
        """The end of the two weeks (Unix s)."""
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

    def candidates(self) -> dict[str, str]:
        """Column → expression for `shadow_predictions`: answers of version 2 that differ a little from those of 1."""
        noise = f"({uniform('noise')} - 0.5) / 5"
        return {
            **self.predictions(),
            "version": "'2'",
            "score": f"least(greatest({self._score()} + {noise}, 0), 1)",
            "error": f"if({uniform('timeout')} < 0.01, 'shadow-timeout', '')",
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
    """Fill a database and time the scorer's passes over it."""
    address = testbed.address(DATABASE)
    with connect(address, timeout_s=QUERY_TIMEOUT_S, create=True) as client:
        migrate.apply(client)
        traffic = Traffic(predictions, (int(time.time()) // DAY_S - DAYS - 1) * DAY_S)
        labels = fill(client, traffic)
        settings = ProcessorSettings(instance="scorer-0", bootstrap_servers="", warehouse=address)
        scorer = Scorer(
            settings,
            lambda: REGISTRY,
            Report("scorer", "scorer-0"),
            clock=lambda: float(traffic.end_s + 2 * HOUR_S),
            grace_s=0.0,
        )
        whole = f"{predictions:,} predictions, {labels:,} labels, {DAYS * 24} hours, 8 slices"
        full_s, outcome = timed_pass(scorer)
        figures.add(SCORING, "the first pass", full_s, "s", f"{whole}; {outcome.revised:,} figures written")
        rows = predictions + labels
        figures.add(SCORING, "the first pass", rows / full_s, "rows/s", "predictions and labels, everything included")
        figures.add(
            SCORING, "of it the join and its counts", rows / _join_s(client, predictions), "rows/s", "timed again"
        )
        n_corrections = 0
        for hours in (FEW_HOURS, MANY_HOURS):
            corrected = correct_labels(
                client, traffic, hours, labels + n_corrections, 0.01 * labels * hours / FEW_HOURS
            )
            n_corrections += corrected
            took_s, outcome = timed_pass(scorer)
            changed = f"{corrected:,} labels ({corrected / labels:.2%})"
            note = f"{changed}; {outcome.scored} hours counted, {outcome.revised:,} figures written"
            figures.add(SCORING, f"a pass after corrections in {hours} hours", took_s, "s", note)
            figures.add(SCORING, f"first pass ÷ pass after corrections in {hours} hours", full_s / took_s, "×")
        quiet = [timed_pass(scorer)[0] * 1000 for _ in range(QUIET_PASSES)]
        figures.add(SCORING, "a pass with nothing new", sorted(quiet)[QUIET_PASSES // 2], "ms", spread(quiet))


def timed_pass(scorer: Scorer) -> tuple[float, Any]:
    """Do one pass; return its duration (s) and its result."""
    began = time.perf_counter()
    outcome = scorer.score_once()
    return time.perf_counter() - began, outcome


def fill(client: Client, traffic: Traffic) -> int:
    """Write all rows; return the number of labels."""
    for first in range(0, traffic.n, AT_ONCE):
        end = min(first + AT_ONCE, traffic.n)
        insert(client, "predictions", traffic.predictions(), first, end)
        insert(client, "labels", traffic.labels(offsets="number"), first, end, traffic.has_label())
    return int(client.rows("SELECT count() FROM labels")[0][0])


def correct_labels(client: Client, traffic: Traffic, hours: int, first_offset: int, n_corrections: float) -> int:
    """Correct about `n_corrections` labels in hours of the middle of the first week; return how many."""
    before = int(client.rows("SELECT count() FROM labels")[0][0])
    for hour in range(FIRST_CORRECTED_HOUR, FIRST_CORRECTED_HOUR + hours):
        first, end = traffic.rows_of(hour)
        share = n_corrections / hours / (end - first)
        condition = f"{traffic.has_label()} AND {uniform('corrected')} < {share!r}"
        offsets = f"number + {traffic.n + first_offset}"
        insert(client, "labels", traffic.labels(offsets=offsets, corrected=True), first, end, condition)
    return int(client.rows("SELECT count() FROM labels")[0][0]) - before


def corrected_hours(traffic: Traffic, hours: int) -> list[int]:
    """The starts (Unix s) of the hours whose labels `correct_labels` corrects."""
    first_s = traffic.start_s + FIRST_CORRECTED_HOUR * HOUR_S
    return [first_s + i * HOUR_S for i in range(hours)]


def insert(client: Client, table: str, columns: Mapping[str, str], first: int, end: int, condition: str = "1") -> None:
    """Insert the rows of the numbers from `first` to `end`, exclusive, that meet a condition."""
    arguments = ", ".join(f"{value} AS {name}" for name, value in columns.items())
    rows = f"SELECT {arguments} FROM numbers({first}, {end - first}) WHERE {condition}"
    client.insert_selected(table, list(columns), rows)


def _join_s(client: Client, predictions: int) -> float:
    """Time to count every hour again, in statements of two million predictions as in the scorer (s)."""
    rules = make_rules(CONTRACT, REGISTRY)
    start_s = int(client.rows("SELECT toUnixTimestamp(min(at)) FROM predictions")[0][0])
    hours = [start_s + hour * HOUR_S for hour in range(DAYS * 24)]
    statements = max(1, -(-predictions // 2_000_000))
    began = time.perf_counter()
    for windows in split(hours, statements):
        state.score_windows(client, rules, dimensions_at(CONTRACT, REGISTRY, windows[0]), windows, 0)
    return time.perf_counter() - began


def split(values: Sequence[int], n: int) -> list[Sequence[int]]:
    """Split values into at most `n` parts of equal size."""
    size = -(-len(values) // n)
    return [values[at : at + size] for at in range(0, len(values), size)]


def uniform(name: str) -> str:
    """A value in [0, 1) that depends on the row's number and a name."""
    return f"(cityHash64(number, '{name}') / pow(2, 64))"


def time_column(ms: str) -> str:
    """A time column from Unix milliseconds."""
    return f"fromUnixTimestamp64Milli(toInt64({ms}), 'UTC')"
