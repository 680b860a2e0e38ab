"""Cost of the scorer's passes over two weeks of a model, without and with a candidate to pair.

The first pass, passes after corrections of labels, and idle passes are measured.

SQL generates predictions and labels inside the engine in the form of the recorder: calibrated scores; labels with a
delay of twelve hours on average (exponential); a tenth of the labels never arrives. Then some labels of some hours are
corrected to the opposite value.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import msgspec
from barograph.contract import Arms, Contract, LabelSpec, ShadowTest, Slice, Window

from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.scorer.rules import dimensions_at, make_rules
from barograph_server.streams.scorer.statement_chunks import statement_chunks
from barograph_server.streams.scorer.worker import QUERY_TIMEOUT_S, Scorer
from barograph_server.warehouse import migrate
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.scoring import pairs, state
from benchmarks.figures import Figures, spread
from benchmarks.stack import Testbed

SCORING, PAIRING = "The scorer, over two weeks", "Pairs of a candidate, over two weeks"
MODEL = "scored"
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
WITH_CANDIDATE = msgspec.structs.replace(
    CONTRACT, arms=None, shadow=ShadowTest(candidate="2", of="1", margins={"accuracy": 0.01})
)


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
    """Time the scorer's passes over a model."""
    with _Scene(testbed, "scoring", CONTRACT, predictions) as scene:
        whole = f"{predictions:,} predictions, {scene.labels:,} labels, {DAYS * 24} hours, 8 slices"
        full_s, outcome = scene.time_pass()
        figures.add(SCORING, "the first pass", full_s, "s", f"{whole}; {outcome.revised:,} figures written")
        rows = predictions + scene.labels
        figures.add(SCORING, "the first pass", rows / full_s, "rows/s", "predictions and labels, everything included")
        for hours in CORRECTED_HOURS:
            corrected = scene.correct_labels(hours)
            took_s, outcome = scene.time_pass()
            note = f"{corrected}; {outcome.scored} hours counted, {outcome.revised:,} figures written"
            figures.add(SCORING, f"a pass after corrections in {hours} hours", took_s, "s", note)
            figures.add(SCORING, f"first pass ÷ pass after corrections in {hours} hours", full_s / took_s, "×")
        scene.add_quiet_passes(figures, SCORING)


def measure_pairing(testbed: Testbed, figures: Figures, *, requests: int) -> None:
    """Time the scorer's passes over a model with a candidate.

    The time of a pass contains the join of labels and the performance of the primary; the time of the pairing alone is
    measured again on the windows that the pass paired.
    """
    with _Scene(testbed, "pairing", WITH_CANDIDATE, requests) as scene:
        for first in range(0, requests, AT_ONCE):
            insert(
                scene.client, "shadow_predictions", scene.traffic.candidates(), first, min(first + AT_ONCE, requests)
            )
        whole = f"{requests:,} requests, {scene.labels:,} labels, {DAYS * 24} hours, 6 slices"
        figures.add(PAIRING, "the first pass", scene.time_pass()[0], "s", whole)
        all_s = scene.time_pairing(scene.hours)
        [(n_pairs, n_labelled, n_missing)] = scene.client.rows(
            "SELECT sum(pairs), sum(labelled), sum(requests - pairs) FROM shadow_pairs FINAL WHERE slice = 'all'"
        )
        note = f"{n_pairs:,} pairs, {n_labelled:,} with a label, {n_missing:,} missing pairs; timed again"
        figures.add(PAIRING, "of it the pairing", all_s, "s", note)
        figures.add(PAIRING, "of it the pairing", requests / all_s, "pairs/s")
        for n_hours in CORRECTED_HOURS:
            corrected = scene.correct_labels(n_hours)
            figures.add(PAIRING, f"a pass after corrections in {n_hours} hours", scene.time_pass()[0], "s", corrected)
            near = scene.hours[FIRST_CORRECTED_HOUR - 1 : FIRST_CORRECTED_HOUR + n_hours + 1]
            pairing_s = scene.time_pairing(near)
            note = f"{len(near)} hours; timed again"
            figures.add(PAIRING, f"of it the pairing, {n_hours} hours", pairing_s, "s", note)
            figures.add(PAIRING, f"pairing of all hours ÷ of {n_hours} hours", all_s / pairing_s, "×")
        scene.add_quiet_passes(figures, PAIRING)


class _Scene:
    """A filled database and a scorer of its model."""

    def __init__(self, testbed: Testbed, database: str, contract: Contract, predictions: int) -> None:
        address = testbed.address(database)
        self._contract = contract
        self._registry = build_registry([(contract, 1)], [])
        self.client = connect(address, timeout_s=QUERY_TIMEOUT_S, create=True)
        migrate.apply(self.client)
        self.traffic = Traffic(predictions, (int(time.time()) // DAY_S - DAYS - 1) * DAY_S)
        self.hours = [self.traffic.start_s + hour * HOUR_S for hour in range(DAYS * 24)]
        self.labels = fill(self.client, self.traffic)
        self._n_corrected = 0
        self._scorer = Scorer(
            testbed.settings(database).processor(instance="scorer-0"),
            lambda: self._registry,
            Report("scorer", "scorer-0"),
            clock=lambda: float(self.traffic.end_s + 2 * HOUR_S),
            grace_s=0.0,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()

    def time_pass(self) -> tuple[float, Any]:
        """Do one pass; return its duration (s) and its result."""
        began = time.perf_counter()
        outcome = self._scorer.score_once()
        return time.perf_counter() - began, outcome

    def time_pairing(self, windows: Sequence[int]) -> float:
        """Time to pair windows (starts, Unix seconds) again, in the statements of the scorer (s)."""
        rules = make_rules(self._contract, self._registry)
        began = time.perf_counter()
        for part in statement_chunks(self.client, rules, windows, [], pairs.rows_by_hour):
            has_repeats = state.has_repeated_ids(self.client, rules, part)
            dimensions = dimensions_at(self._contract, self._registry, part[0])
            pairs.pair_windows(self.client, rules, dimensions, part, 0, has_repeats=has_repeats)
        return time.perf_counter() - began

    def correct_labels(self, hours: int) -> str:
        """Correct a hundredth of all labels per `CORRECTED_HOURS[0]` hours in the middle of the first week."""
        before = self.labels + self._n_corrected
        for hour in range(FIRST_CORRECTED_HOUR, FIRST_CORRECTED_HOUR + hours):
            first, end = self.traffic.rows_of(hour)
            share = 0.01 * self.labels / CORRECTED_HOURS[0] / (end - first)
            condition = f"{self.traffic.has_label()} AND {uniform('corrected')} < {share!r}"
            columns = self.traffic.labels(offsets=f"number + {self.traffic.n + before}", corrected=True)
            insert(self.client, "labels", columns, first, end, condition)
        corrected = int(self.client.rows("SELECT count() FROM labels")[0][0]) - before
        self._n_corrected += corrected
        return f"{corrected:,} labels ({corrected / self.labels:.2%})"

    def add_quiet_passes(self, figures: Figures, section: str) -> None:
        """Add the time of a pass with nothing new."""
        quiet = [self.time_pass()[0] * 1000 for _ in range(QUIET_PASSES)]
        figures.add(section, "a pass with nothing new", sorted(quiet)[QUIET_PASSES // 2], "ms", spread(quiet))


def fill(client: Client, traffic: Traffic) -> int:
    """Write all rows; return the number of labels."""
    for first in range(0, traffic.n, AT_ONCE):
        end = min(first + AT_ONCE, traffic.n)
        insert(client, "predictions", traffic.predictions(), first, end)
        insert(client, "labels", traffic.labels(offsets="number"), first, end, traffic.has_label())
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
    """A time column from Unix milliseconds."""
    return f"fromUnixTimestamp64Milli(toInt64({ms}), 'UTC')"
