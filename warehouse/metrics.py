"""The metrics of processors: each declared once, for `/metrics`, the table `processors`, its panel and the docs.

A metric stands in `processors.details` under its short name and its labels, with spaces between (`Metric.key`), and in
Prometheus' text format under its full name. Labels come from closed sets and from whole numbers, so neither place ever
holds a value of a feature, the name of a model, or a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from barograph.events import Reason

from warehouse.tables import SCHEMAS

Processor = Literal["sketcher", "recorder", "monitor", "scorer"]
Unit = Literal["seconds", "bytes", "events", "messages", "rows", "windows", "writes", ""]
MetricKind = Literal["counter", "gauge", "histogram"]

ALL: tuple[Processor, ...] = ("sketcher", "recorder", "monitor", "scorer")
READERS: tuple[Processor, ...] = ("sketcher", "recorder", "monitor")
"""Those that read Kafka in a consumer group."""

PREFIX = "barograph_"
OTHER = "other"
"""Stands for a value of a label that is not in its set."""
BUCKETS_S = (0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0)
"""Upper ends of the buckets of every histogram: a part merges in milliseconds, a flush lasts 15 s, a pass minutes."""


@dataclass(frozen=True, slots=True)
class Label:
    """One label of a metric, and what it may hold."""

    name: str
    values: tuple[str, ...]
    """Every value; empty: whole numbers."""

    def checked(self, value: str | int) -> str:
        """The value as it is told: `other` where it is not one of the set."""
        text = str(value)
        known = text in self.values if self.values else text.isdecimal()
        return text if known else OTHER


TOPIC = Label("topic", ("predictions", "labels", "partials"))
PARTITION = Label("partition", ())
OUTCOME = Label("outcome", ("counted", "recorded", "merged", "late", "scored", "dead"))
REASON = Label("reason", (*(reason.value for reason in Reason), "damaged", "re-sketch", "unregistered", "misfit"))
SINK = Label("sink", ("kafka", "warehouse"))
TABLE = Label(
    "table",
    tuple(SCHEMAS),
)
CHANGE = Label("change", ("new", "revised"))


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    short: str
    """Its name without the prefix; a counter's ends with `_total`, a time's with `_seconds`."""
    kind: MetricKind
    unit: Unit
    help: str
    processors: tuple[Processor, ...]
    panel: str
    """The panel of the dashboard Pipeline that shows it."""
    labels: tuple[Label, ...] = ()
    column: str = ""
    """The column of `processors` that holds it summed over its labels, where one does."""
    summed: bool = True
    """Partitions are not told apart in `processors`: whether theirs are added up, or the greatest is told."""

    @property
    def name(self) -> str:
        """As Prometheus knows it."""
        return PREFIX + self.short

    @property
    def told_labels(self) -> tuple[Label, ...]:
        """Those that `processors.details` tells apart."""
        return tuple(label for label in self.labels if label is not PARTITION)

    def key(self, *values: str) -> str:
        """The key in `processors.details`; of a histogram it holds the longest time since the report before.

        Args:
            values: one for each of `told_labels`.
        """
        return " ".join((self.short, *values))


LAG = Metric(
    "lag_messages",
    "gauge",
    "messages",
    "Messages between the committed offset of a partition and its end.",
    READERS,
    "lag",
    (TOPIC, PARTITION),
    column="lag",
)
COMMITTED_AGE = Metric(
    "committed_age_seconds",
    "gauge",
    "seconds",
    "How long the committed offset of a partition has stood still while messages lay behind it; 0 where none do.",
    READERS,
    "committed_age",
    (TOPIC, PARTITION),
    summed=False,
)
LAST_COMMIT = Metric(
    "last_commit_timestamp_seconds",
    "gauge",
    "seconds",
    "Unix time of the last commit, or of the scorer's last pass; 0 before the first.",
    ALL,
    "watchdog",
    column="last_commit_at",
)
LOOP_AGE = Metric(
    "loop_age_seconds",
    "gauge",
    "seconds",
    "Since the processor's loop came round last; the watchdog ends a process whose loop stands still.",
    ALL,
    "committed_age",
)
WAITING = Metric(
    "waiting_seconds",
    "gauge",
    "seconds",
    "How long the processor has been waiting for a busy warehouse, with its batch kept; 0 while it works.",
    ("recorder", "monitor", "scorer"),
    "waiting",
)
REGISTRY_AGE = Metric(
    "registry_age_seconds",
    "gauge",
    "seconds",
    "Since contracts and baselines were read last; while ClickHouse is away the last copy holds.",
    ALL,
    "waiting",
)
EVENTS = Metric(
    "events_total",
    "counter",
    "events",
    "Events by what became of them: counted (sketcher), recorded (recorder), merged, of these late (monitor), scored "
    "(scorer), dead (put aside). The monitor reads again what it had not acknowledged, and counts it again here.",
    ALL,
    "events",
    (OUTCOME,),
)
DEAD_LETTERS = Metric(
    "dead_letters_total",
    "counter",
    "events",
    "Events (of the monitor: records of parts) that were put aside, by reason.",
    READERS,
    "rejected",
    (REASON,),
    column="dead_letters",
)
OFFSETS_LOST = Metric(
    "offsets_lost_total",
    "counter",
    "messages",
    "Offsets that retention took before they were read.",
    ("sketcher", "recorder"),
    "rejected",
    (TOPIC,),
)
RETRIES = Metric(
    "retries_total",
    "counter",
    "writes",
    "What had to be tried again, by what was busy or away.",
    ALL,
    "retries",
    (SINK,),
    column="retries",
)
FLUSH = Metric(
    "flush_seconds",
    "histogram",
    "seconds",
    "From the first poll of a flush (recorder: of a batch) to its commit.",
    ("sketcher", "recorder"),
    "insert_times",
)
TRANSACTION = Metric(
    "transaction_seconds",
    "histogram",
    "seconds",
    "A Kafka transaction, from its beginning to its commit.",
    ("sketcher", "recorder"),
    "insert_times",
)
INSERT = Metric(
    "insert_seconds",
    "histogram",
    "seconds",
    "One insert into ClickHouse that was answered, by table.",
    ("recorder", "monitor", "scorer"),
    "insert_times",
    (TABLE,),
)
INSERTED = Metric(
    "inserted_rows_total",
    "counter",
    "rows",
    "Rows that ClickHouse took, by table.",
    ("recorder", "monitor", "scorer"),
    "inserted",
    (TABLE,),
)
PART = Metric(
    "part_seconds", "histogram", "seconds", "The merge of one part into its panes.", ("monitor",), "insert_times"
)
WRITE = Metric(
    "write_seconds",
    "histogram",
    "seconds",
    "Everything that is written after a progress record, all tables.",
    ("monitor",),
    "insert_times",
)
PASS = Metric(
    "pass_seconds", "histogram", "seconds", "One look of the scorer at all models.", ("scorer",), "insert_times"
)
WINDOWS = Metric(
    "windows_total",
    "counter",
    "windows",
    "Windows whose performance was measured, and revisions of earlier figures.",
    ("scorer",),
    "scored",
    (CHANGE,),
)
MEMORY = Metric(
    "memory_bytes", "gauge", "bytes", "Memory of the process that lies in RAM (resident set).", ALL, "memory"
)
CPU = Metric("cpu_seconds_total", "counter", "seconds", "Processor time that the process has used.", ALL, "cpu")
STARTED = Metric(
    "start_timestamp_seconds",
    "gauge",
    "seconds",
    "Unix time at which the process started.",
    ALL,
    "processors",
    column="started_at",
)
HEALTHY = Metric("healthy", "gauge", "", "1 while /healthz answers 200, else 0.", ALL, "healthy")

METRICS: tuple[Metric, ...] = (
    *(LAG, COMMITTED_AGE, LAST_COMMIT, LOOP_AGE, WAITING, HEALTHY),
    *(EVENTS, DEAD_LETTERS, OFFSETS_LOST, RETRIES),
    *(FLUSH, TRANSACTION, INSERT, INSERTED, PART, WRITE, PASS, WINDOWS),
    *(REGISTRY_AGE, MEMORY, CPU, STARTED),
)
"""All of them, in the order in which docs and `/metrics` tell them."""


def shown_on(panel: str) -> tuple[Metric, ...]:
    """The metrics that a panel of the dashboard Pipeline shows."""
    return tuple(metric for metric in METRICS if metric.panel == panel)
