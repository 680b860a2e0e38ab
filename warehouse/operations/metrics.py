"""Metrics of the processors, each declared once for `/metrics`, the table `processors`, its panel and the docs.

`processors.details` keys a metric by its short name and label values, separated by spaces (`MetricFamily.key`).
Prometheus' text format uses the full name. Label values come from closed sets and whole numbers, so they never contain
a feature value, a model name or a secret.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args

from barograph.events import Reason

from barograph_server.warehouse.tables import SCHEMAS

Processor = Literal["sketcher", "recorder", "monitor", "scorer", "guard", "otlp", "scrape", "evaluator"]
MetricKind = Literal["counter", "gauge", "histogram"]

ALL: tuple[Processor, ...] = get_args(Processor)
OPTIONAL: frozenset[Processor] = frozenset({"otlp", "scrape", "evaluator"})
"""Processors that not every installation runs."""
CONSUMERS: tuple[Processor, ...] = ("sketcher", "recorder", "monitor", "evaluator")
"""Processors that read Kafka in a consumer group."""

PREFIX = "barograph_"
OTHER = "other"
"""The value of a label whose actual value is not in its set."""
BUCKETS_S = (0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds of every histogram's buckets: a partial merges in milliseconds, a flush takes 15 s, a pass minutes."""


@dataclass(frozen=True, slots=True)
class MetricLabel:
    name: str
    values: tuple[str, ...]
    """The allowed values; empty for whole numbers."""
    is_open: bool = False
    """Whether any value is allowed, because the processor bounds how many there are."""

    def normalize(self, value: str | int) -> str:
        """Return the reported value: `other` unless the value is allowed."""
        text = str(value)
        is_allowed = self.is_open or (text in self.values if self.values else text.isdecimal())
        return text if is_allowed else OTHER


TOPIC = MetricLabel("topic", ("predictions", "labels", "partials"))
PARTITION = MetricLabel("partition", ())
OUTCOME = MetricLabel("outcome", ("counted", "recorded", "merged", "late", "scored", "published", "stored", "dead"))
REASON = MetricLabel("reason", (*(reason.value for reason in Reason), "damaged", "re-sketch", "unregistered", "misfit"))
READER = MetricLabel("reader", ("native", "python"))
SINK = MetricLabel("sink", ("kafka", "warehouse"))
TABLE = MetricLabel("table", tuple(SCHEMAS))
CHANGE = MetricLabel("change", ("new", "revised"))
SPAN_OUTCOME = MetricLabel(
    "outcome",
    (
        *("counted", "nested", "twin", "stream-start", "duplicate", "unknown-operation", "unassigned"),
        *("step", "no-call"),
        *("bad-id", "too-many-attributes", "bad-time", "future-time", "too-old", "missing-model", "missing-version"),
    ),
)
VALUE_REASON = MetricLabel(
    "reason",
    (
        *("wrong-type", "negative", "too-large", "not-finite", "not-a-name", "after-end", "no-end"),
        *("instrumentation-error", "inconsistent", "no-price", "no-cached-tokens"),
    ),
)
FACT_REASON = MetricLabel(
    "reason", ("not-finite", "negative", "wrong-type", "inconsistent", "duplicate", "too-many-series")
)
UNREADABLE = "unreadable"


class SkipReason(StrEnum):
    """Why an answer was left out on purpose: the status of its evaluation."""

    BUDGET = "skipped-budget"
    """The hourly budget is used up."""
    LAG = "skipped-lag"
    """The answer was received too long ago, or waited for so long, because judges took their time for others."""
    REMOVED = "skipped-removed"
    """The evaluator left the contract while the answer waited for it."""
    CHANGED = "skipped-changed"
    """The answer was queued for another version of the evaluator than the process has."""


SKIP_REASON = MetricLabel("reason", (*SkipReason, UNREADABLE))
SCRAPE_OUTCOME = MetricLabel(
    "outcome",
    (*("read", "unreachable", "timeout", "bad-status", "redirected", "too-large", "unreadable"), "unknown-server"),
)


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """A metric and its metadata; with labels it has one value per combination."""

    short: str
    """Name without the prefix; counters end with `_total`. A unit is a word of it: `seconds` or `bytes`."""
    help: str
    processors: tuple[Processor, ...]
    panel: str = ""
    """Panel of the dashboard Pipeline that shows the metric; empty if none does."""
    labels: tuple[MetricLabel, ...] = ()
    column: str = ""
    """Column of `processors` with the sum over all labels; empty if there is none."""
    is_summed: bool = True
    """Whether `processors` reports the sum over partitions; otherwise it reports the maximum."""
    is_histogram: bool = False

    @property
    def kind(self) -> MetricKind:
        if self.is_histogram:
            return "histogram"
        return "counter" if self.short.endswith("_total") else "gauge"

    @property
    def name(self) -> str:
        """The full name, as in Prometheus."""
        return PREFIX + self.short

    @property
    def reported_labels(self) -> tuple[MetricLabel, ...]:
        """The labels that `processors.details` distinguishes."""
        return tuple(label for label in self.labels if label is not PARTITION)

    def key(self, *values: str) -> str:
        """Return the key in `processors.details`; a histogram reports its longest time since the previous report.

        Args:
            values: one value for each of `reported_labels`.
        """
        return " ".join((self.short, *values))


LAG = MetricFamily(
    "lag_messages",
    "Messages between the committed offset of a partition and its end.",
    CONSUMERS,
    "lag",
    (TOPIC, PARTITION),
    column="lag",
)
COMMITTED_AGE = MetricFamily(
    "committed_age_seconds",
    "Time since the committed offset of a partition last advanced while messages are available; 0 if none are.",
    CONSUMERS,
    "committed_age",
    (TOPIC, PARTITION),
    is_summed=False,
)
LAST_COMMIT = MetricFamily(
    "last_commit_timestamp_seconds",
    "Unix time of the last commit, or of the scorer's last pass; 0 before the first.",
    ALL,
    "watchdog",
    column="last_commit_at",
)
LOOP_AGE = MetricFamily(
    "loop_age_seconds",
    "Time since the last iteration of the processor's loop; the watchdog ends a process whose loop hangs.",
    ALL,
    "committed_age",
)
WAITING = MetricFamily(
    "waiting_seconds",
    "Time for which the processor has been waiting for ClickHouse; 0 while it works.",
    ("recorder", "monitor", "scorer"),
    "waiting",
)
REGISTRY_AGE = MetricFamily(
    "registry_age_seconds", "Time since contracts and baselines were last read.", ALL, "waiting"
)
REGISTRY_READABLE = MetricFamily(
    "registry_readable",
    "1 if the processor can read every contract and baseline, else 0; its log names the model.",
    ALL,
)
EVENTS = MetricFamily(
    "events_total",
    "Events by outcome, which names the processor's work; `late` is part of `merged`. After a restart the monitor "
    "counts uncommitted records again.",
    ALL,
    labels=(OUTCOME,),
)
DEAD_LETTERS = MetricFamily(
    "dead_letters_total",
    "Dead-lettered events (for the monitor: partials), by reason.",
    CONSUMERS,
    "rejected",
    (REASON,),
    column="dead_letters",
)
JSON_MESSAGES = MetricFamily(
    "json_messages_total",
    "JSON messages by what read them: barograph-native, or Python, which reads those that are not plain events, and "
    "all of them without barograph-native.",
    ("sketcher", "recorder"),
    labels=(READER,),
)
NATIVE_PANICS = MetricFamily(
    "native_panics_total",
    "Messages that Python read because barograph-native failed on them; each is a defect to report.",
    ("sketcher", "recorder"),
)
OFFSETS_LOST = MetricFamily(
    "offsets_lost_total",
    "Offsets that retention deleted before they were read.",
    ("sketcher", "recorder"),
    "rejected",
    (TOPIC,),
)
RETRIES = MetricFamily(
    "retries_total",
    "Retried writes, by the sink that was busy or unavailable.",
    ALL,
    "retries",
    (SINK,),
    column="retries",
)
SPANS = MetricFamily(
    "spans_total",
    "Spans of OTLP exports: model calls that counted, and other spans by reason.",
    ("otlp",),
    labels=(SPAN_OUTCOME,),
)
UNKNOWN_OPERATIONS = MetricFamily(
    "unknown_operations_total",
    "Spans with a model or tokens whose operation is not understood, by operation; they do not count.",
    ("otlp",),
    labels=(MetricLabel("operation", (), is_open=True),),
)
NOT_OBSERVED = MetricFamily(
    "not_observed_total",
    "Values of model calls that count as not observed, by reason.",
    ("otlp",),
    "rejected",
    (VALUE_REASON,),
)
SCRAPES = MetricFamily(
    "scrapes_total", "Scrapes of inference servers, by outcome.", ("scrape",), labels=(SCRAPE_OUTCOME,)
)
FACTS_NOT_OBSERVED = MetricFamily(
    "facts_not_observed_total",
    "Values of scraped metrics that count as not observed, by reason.",
    ("scrape",),
    "rejected",
    (FACT_REASON,),
)
COUNTER_RESETS = MetricFamily(
    "counter_resets_total",
    "Scraped counters that became smaller, because their server restarted.",
    ("scrape",),
    "rejected",
)
UNKNOWN_METRICS = MetricFamily(
    "unknown_metrics_total",
    "Metrics of known inference servers that are not read; each counts once per endpoint.",
    ("scrape",),
    "rejected",
)
FACTS_DROPPED = MetricFamily(
    "facts_dropped_total",
    "Rows of serving_facts that were dropped because ClickHouse did not accept them in time.",
    ("scrape",),
    "rejected",
)
EVALUATIONS_SKIPPED = MetricFamily(
    "evaluations_skipped_total",
    "Answers that an evaluator did not evaluate on purpose, by the status of their evaluation.",
    ("evaluator",),
    "rejected",
    (SKIP_REASON,),
)
FLUSH = MetricFamily(
    "flush_seconds",
    "Time from the first poll of a flush (recorder: of a batch) to its commit.",
    ("sketcher", "recorder"),
    "insert_times",
    is_histogram=True,
)
TRANSACTION = MetricFamily(
    "transaction_seconds",
    "Duration of a Kafka transaction, from begin to commit.",
    ("sketcher", "recorder"),
    "insert_times",
    is_histogram=True,
)
INSERT = MetricFamily(
    "insert_seconds",
    "Duration of one successful insert into ClickHouse, by table.",
    ("recorder", "monitor", "scorer", "scrape"),
    "insert_times",
    (TABLE,),
    is_histogram=True,
)
INSERTED = MetricFamily(
    "inserted_rows_total",
    "Rows inserted into ClickHouse, by table.",
    ("recorder", "monitor", "scorer", "scrape"),
    labels=(TABLE,),
)
PARTIAL = MetricFamily(
    "partial_seconds", "Time to merge one partial into its panes.", ("monitor",), "insert_times", is_histogram=True
)
WRITE = MetricFamily(
    "write_seconds",
    "Time to write all tables after a progress record.",
    ("monitor",),
    "insert_times",
    is_histogram=True,
)
PASS = MetricFamily(
    "pass_seconds", "One pass of the scorer over all models.", ("scorer",), "insert_times", is_histogram=True
)
WINDOWS = MetricFamily(
    "windows_total",
    "Windows whose performance was measured: new windows and revisions.",
    ("scorer",),
    "scored",
    (CHANGE,),
)
MEMORY = MetricFamily("memory_bytes", "Resident memory of the process.", ALL, "memory")
CPU = MetricFamily("cpu_seconds_total", "CPU time used by the process.", ALL, "cpu")
STARTED = MetricFamily(
    "start_timestamp_seconds", "Unix time at which the process started.", ALL, "processors", column="started_at"
)
HEALTHY = MetricFamily("healthy", "1 while /healthz returns 200, else 0.", ALL)

METRICS: tuple[MetricFamily, ...] = (
    *(LAG, COMMITTED_AGE, LAST_COMMIT, LOOP_AGE, WAITING, HEALTHY),
    *(EVENTS, DEAD_LETTERS, JSON_MESSAGES, NATIVE_PANICS, OFFSETS_LOST, RETRIES),
    *(SPANS, UNKNOWN_OPERATIONS, NOT_OBSERVED),
    *(SCRAPES, FACTS_NOT_OBSERVED, COUNTER_RESETS, UNKNOWN_METRICS, FACTS_DROPPED, EVALUATIONS_SKIPPED),
    *(FLUSH, TRANSACTION, INSERT, INSERTED, PARTIAL, WRITE, PASS, WINDOWS),
    *(REGISTRY_AGE, REGISTRY_READABLE, MEMORY, CPU, STARTED),
)
"""All metrics, in the order of the docs and of `/metrics`."""


def metrics_of_panel(panel: str) -> tuple[MetricFamily, ...]:
    """Return the metrics that a panel of the dashboard Pipeline shows."""
    return tuple(metric for metric in METRICS if metric.panel == panel)
