"""The contract of one model: the content of its events, how they are monitored, and who is notified.

One YAML file per model is the single specification for training, serving, topics, tables, dashboards and alerts. This
module defines the immutable objects; `barograph.contract.file` reads the file.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any, ClassVar, Literal

import msgspec

from barograph.contract.alerts import Alerts
from barograph.contract.consumers import DeclaredConsumer
from barograph.contract.evaluators import Evaluator
from barograph.contract.upstream import DeclaredSource

FieldType = Literal["float", "int", "bool", "category", "timestamp"]
"""Types of fields. `timestamp` values are monitored as their age: event time minus value, in seconds."""

NUMERIC_TYPES: tuple[FieldType, ...] = ("float", "int", "timestamp")
"""Types whose values are monitored as numbers."""

SketchKind = Literal["kll", "req"]

SECONDS_PER_HOUR = 3600
SECONDS_PER_DAY = 24 * SECONDS_PER_HOUR

CONFIDENCE = "confidence"
"""The source that is not a member of an event: the largest of `scores`."""

PREVIOUS = "previous"
"""Target of a rollback: the version that had the label before."""

CROSS = " * "
"""Joins the sources and the values of a crossed slice: `origin * carrier=JFK * AA`."""


def _to_float(struct: msgspec.Struct, *names: str) -> None:
    """Convert integers to floats and -0 to 0, so that equal contracts have the same id."""
    for name in names:
        value = getattr(struct, name)
        if value is not None:
            msgspec.structs.force_setattr(struct, name, value + 0.0)


class Window(msgspec.Struct, frozen=True, order=True):
    """A rolling window of panes: half-open [start, end); ends are multiples of the hop since the Unix epoch."""

    LATER: ClassVar = ("last",)

    length_s: int
    """The length; if `last` is set, the longest span."""
    hop_s: int
    last: int = 0
    """If not 0: the window consists of the fewest most recent panes with at least so many predictions of the model."""

    @property
    def name(self) -> str:
        """The length as people write it: `15m`, `1h`, `1d`, `7d`; or `last 2000`."""
        return f"last {self.last}" if self.last else format_duration(self.length_s)


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One monitored value of predictions: a feature, the score, the class, latency or a metric."""

    LATER: ClassVar = ("policy",)

    name: str
    type: FieldType
    source: str
    """The value's source in an event: `features.NAME`, `metrics.NAME`, `context.NAME`, `scores.CLASS`, `score`,
    `class`, `latency_ms`, or `confidence`, which is the largest of `scores`."""
    description: str = ""
    unit: str = ""
    critical: bool = False
    """Whether a major verdict pages; otherwise it creates a ticket."""
    low: float | None = None
    """The smallest valid value; smaller ones count as `below`. None: no lower limit."""
    high: float | None = None
    """The largest valid value; larger ones count as `above`. None: no upper limit."""
    nulls: Literal["allow", "refuse"] = "allow"
    weight: float = 1.0
    """Weight in the control of false discoveries over fields."""
    sketch: SketchKind = "kll"
    """REQ if the tail matters (latency, token counts), otherwise KLL."""
    pii: Literal["keep", "hash", "drop", "truncate"] = "keep"
    policy: Literal["flag", "reject"] = "flag"
    """What `Publisher.validate` does with a value that violates the contract: count it, or raise an error."""

    def __post_init__(self) -> None:
        _to_float(self, "low", "high", "weight")


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """A dimension that divides predictions into slices named `NAME=value`."""

    LATER: ClassVar = ("sketches",)

    name: str
    source: str
    """`features.NAME`, `context.NAME` or `arm`; or several sources to cross, joined by `CROSS`."""
    top: int = 20
    """How many values (the most frequent of training) get a slice of their own; the rest is `NAME=other`."""
    values: tuple[str, ...] = ()
    """The values, if training data does not contain this dimension (arms, request context)."""
    sketches: tuple[str, ...] = ()
    """Numeric fields whose sketches and moments are also stored per slice; counts always are."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The crossed sources; a single one if nothing is crossed."""
        return tuple(self.source.split(CROSS))


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """The thresholds of PSI and the value below which a firing alert clears."""

    minor: float = 0.1
    major: float = 0.2
    clear: float = 0.15

    def __post_init__(self) -> None:
        _to_float(self, "minor", "major", "clear")


class RateThresholds(msgspec.Struct, frozen=True, kw_only=True):
    """The thresholds of a rate's change, as shares (0.05 is five percentage points)."""

    minor: float = 0.01
    major: float = 0.05

    def __post_init__(self) -> None:
        _to_float(self, "minor", "major")


class LabelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The labels of a model: the ground truth that arrives later."""

    LATER: ClassVar = ("threshold", "classes", "horizon_s", "mature", "negative")

    type: Literal["bool", "category", "float"]
    positive: str | bool | None = None
    """The class whose probability is the score (binary models)."""
    threshold: float = 0.5
    """The smallest score that predicts the positive class if an event has no `class` (binary models)."""
    classes: tuple[str, ...] = ()
    """All classes of a model with more than two, whose probabilities are in `scores`."""
    horizon_s: int = 30 * SECONDS_PER_DAY
    """Labels that arrive later than this after the prediction are counted and do not change performance."""
    mature: float = 0.95
    """A window is mature when this share of its expected labels has arrived, according to the learned curve."""
    negative: str | None = None
    """The other class of a bool, if labels or classes contain its name; `positive` is then its counterpart."""

    def __post_init__(self) -> None:
        _to_float(self, "threshold", "mature")


class Arms(msgspec.Struct, frozen=True, kw_only=True):
    """How requests are assigned to the arms of an A/B test, and how an arm is judged."""

    LATER: ClassVar = ("control", "margins", "worst_day", "days")

    shares: dict[str, float]
    """Arm → the share of units that is assigned to it; the shares sum to 1."""
    unit: str = ""
    """The unit of assignment: `context.NAME` (a user, a session); empty if each prediction is assigned by itself."""
    control: str = ""
    """The arm with which the others are compared; empty: the first."""
    margins: dict[str, float] = msgspec.field(default_factory=dict)
    """Criterion (`accuracy`, `latency`, …) → how much worse than the control an arm may be, in the criterion's unit."""
    worst_day: float = 0.1
    """The largest share of a day's predictions that an arm could get wrong, if its harm is in few days."""
    days: int = 28
    """The smallest number of days with predictions in both arms before an arm is judged."""

    def __post_init__(self) -> None:
        _to_float(self, "worst_day")

    @property
    def names(self) -> tuple[str, ...]:
        """The arms, the control first."""
        control = self.control or next(iter(self.shares), "")
        return (control, *(arm for arm in self.shares if arm != control))


class ShadowTest(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate version that answers the same requests as the primary."""

    candidate: str
    """The version whose predictions have the role `shadow`."""
    of: str
    """The version whose answers are used."""
    margins: dict[str, float]
    """Criterion (`accuracy`, `latency`, …) → how much worse the candidate may be, in the criterion's unit."""
    worst_day: float = 0.1
    """The largest share of a day's pairs that the candidate could get wrong, if its harm is in few days."""
    days: int = 28
    """The smallest number of days with pairs before the candidate is judged."""
    copy: str = ""
    """The version of a second copy of the primary, whose predictions have the role `shadow` too; empty: no copy."""
    prices: dict[str, float] = msgspec.field(default_factory=dict)
    """Metric of events (`input_tokens`, …) → the price of one unit, for the criterion `cost`."""
    candidate_prices: dict[str, float] = msgspec.field(default_factory=dict)
    """The same for the candidate; empty: `prices`."""
    planned_days: int = 140
    """The planned number of days with mature labels, over which the looks at `auc` are spread."""

    def __post_init__(self) -> None:
        _to_float(self, "worst_day")


class Rollback(msgspec.Struct, frozen=True, kw_only=True):
    """When a version of a prompt, served as an arm, is rolled back."""

    LATER: ClassVar = ("criteria",)

    prompt: str
    """The prompt; the arms are named `PROMPT@VERSION`."""
    margins: dict[str, float]
    """Criterion (`errors`, `ttft`, …) → how much worse than the control an arm may be, in the criterion's unit."""
    criteria: int = 0
    """How many criteria share the probability of a false proposal, those of other models included; 0: the margins."""
    label: str = "production"
    """The label that moves."""
    to: str = PREVIOUS
    """Where the label points afterwards: `previous`, a version, or where another label points."""
    mode: Literal["propose", "act"] = "propose"
    """Whether people roll back, after an alert, or the guard does."""
    events: int = 200
    """The least predictions of each arm before it is judged."""
    units: int = 100
    """The least units of each arm, if units stay in their arm."""


class TokenPrice(msgspec.Struct, frozen=True, kw_only=True):
    """What the tokens of versions of a language model cost, in US dollars per million."""

    version: str
    """The versions: a pattern in which `*` matches any text and `?` one character."""
    since: str = ""
    """The first day of the price, `YYYY-MM-DD` in UTC; empty: always."""
    input: float = 0.0
    output: float = 0.0
    cached_input: float | None = None
    """Input tokens that were read from a cache; None: as `input`."""
    cache_write: float | None = None
    """Input tokens that were written to a cache; None: as `input`."""
    reasoning: float | None = None
    """Output tokens of reasoning; None: as `output`."""

    def __post_init__(self) -> None:
        _to_float(self, "input", "output", "cached_input", "cache_write", "reasoning")


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What a model may cost, in US dollars; days and months are those of UTC."""

    day: float | None = None
    month: float | None = None

    def __post_init__(self) -> None:
        _to_float(self, "day", "month")


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """How a version is served, for people who compare versions."""

    quantisation: Literal["", "none", "AWQ", "GPTQ", "INT4", "INT8", "FP8", "FP16", "BF16"] = ""
    speculative_decoding: str = ""
    """What drafts tokens, such as the name of a draft model; empty: not stated."""
    continuous_batching: bool | None = None
    gpu: str = ""
    engine: str = ""
    """The inference server and its version."""
    notes: str = ""


class Fallback(msgspec.Struct, frozen=True, kw_only=True):
    """When serving should use the fallback of a model, and when the model again."""

    rules: tuple[str, ...] = (
        *("psi-major", "null-rate", "invalid-rate", "unseen-rate", "range-rate"),
        *("errors", "performance"),
    )
    """Alert rules that make the model degraded. Of rules with an instance for each field, critical fields count."""
    hold_s: int = 0
    """How long a rule must fire before the model is degraded, beyond the rule's own `for_s`."""
    recover_s: int = 900
    """How long all rules must be quiet before the model is healthy again."""
    when_unknown: Literal["keep", "degrade"] = "keep"
    """What serving does while monitoring is blind: keep the last known decision, or use the fallback."""


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """What events contain of the prompts and answers of a language model."""

    codebook: str = ""
    """The id of the codebook that assigns topics: 16 hexadecimal digits; empty: no topics."""
    languages: tuple[str, ...] = ()
    """The languages to expect, as codes of ISO 639-1; another one is `other`. Empty: any."""
    content: Literal["drop", "hash", "redact", "keep"] = "drop"
    """What is published of the texts themselves."""
    sample: float = 0.0
    """The share of generations whose text is published, with `redact` and `keep`."""

    def __post_init__(self) -> None:
        _to_float(self, "sample")


class Slo(msgspec.Struct, frozen=True, kw_only=True):
    """The model's service level objectives."""

    LATER: ClassVar = ("performance", "in_range")

    latency_ms: float | None = None
    latency_share: float | None = None
    error_rate: float | None = None
    performance: dict[str, float] = msgspec.field(default_factory=dict)
    """Metric (`auc`, `accuracy`, `mae`, …) → its smallest value, or for an error its largest, with mature labels."""
    in_range: dict[str, float] = msgspec.field(default_factory=dict)
    """Numeric field → the smallest share of its values that must be within its range."""

    def __post_init__(self) -> None:
        _to_float(self, "latency_ms", "latency_share", "error_rate")


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """Columns of the model's tables whose names differ from the members of events; empty: the member's name."""

    id: str = ""
    """The prediction's id, `id` in events."""
    time: str = ""
    """The event time, `at` in events."""
    score: str = ""
    class_: str = ""
    label: str = ""
    latency: str = ""
    """The latency in milliseconds, `latency_ms` in events."""
    scores: str = ""
    """The prefix of the columns of class probabilities, `scores.` in events."""


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """Everything Barograph needs to know about one model."""

    LATER: ClassVar = (
        *("season", "arms", "shadow", "text", "rollback", "serving", "promotion", "fallback", "alerts", "columns"),
        *("prices", "budget", "user", "deployments", "evaluators", "suites", "consumers", "declared_sources", "caller"),
    )

    model: str
    """The model's name, as in events."""
    description: str = ""
    """What the model decides, for people."""
    team: str = ""
    """The team that runs the model."""
    owners: tuple[str, ...] = ()
    """The people who may change the contract."""
    route: str = ""
    """The destination of its alerts: a contact point or channel."""
    timezone: str = "UTC"
    """The time zone of the model's users; `season` uses it."""
    pane_s: int = 60
    """The length of a pane: it divides an hour or is a multiple of one."""
    lateness_s: int = 120
    """How far the watermark must pass a pane's end before the pane is sealed."""
    out_of_order_s: int = 60
    """How far event times may lag behind the newest event time; the watermark lags by this much."""
    windows: tuple[Window, ...] = (
        Window(900, 60),
        Window(SECONDS_PER_HOUR, 300),
        Window(SECONDS_PER_DAY, SECONDS_PER_HOUR),
    )
    """The rolling windows that are judged."""
    raw_share: float = 1.0
    """The share of raw events that is stored (0 none, 1 all), selected by hash of the prediction id."""
    fields: tuple[Field, ...] = ()
    """The monitored fields."""
    slices: tuple[Slice, ...] = ()
    """The dimensions that divide predictions into slices."""
    slice_min_n: int = 500
    """The smallest number of events in a window for which slice verdicts are written."""
    season: Literal["none", "hour_of_week"] = "none"
    """Whether windows are compared with the training data of the same hours of the week, in `timezone`."""
    label: LabelSpec | None = None
    """The ground truth that arrives later; None: no labels."""
    arms: Arms | None = None
    """How requests are assigned to the arms of an A/B test; None: no test."""
    shadow: ShadowTest | None = None
    """The candidate that answers beside the primary; None: no candidate."""
    text: Text | None = None
    """What events contain of prompts and answers; None: only their lengths."""
    rollback: Rollback | None = None
    """When a version of a prompt is rolled back; None: never."""
    fallback: Fallback = msgspec.field(default_factory=Fallback)
    """When serving uses the fallback of the model, and when the model again."""
    serving: str = ""
    """The version whose answers are used; empty if the contract does not state it."""
    promotion: Literal["open", "required"] = "open"
    """`required`: `barograph apply` changes `serving` only with evidence for the new version."""
    consumers: dict[str, DeclaredConsumer] = msgspec.field(default_factory=dict)
    """Who reads the model's topics, tables and dashboards."""
    declared_sources: dict[str, DeclaredSource] = msgspec.field(default_factory=dict)
    """The upstream systems and jobs that compute the fields, `sources` in the file."""
    suites: tuple[str, ...] = ()
    """Evaluation suites in which a version must be accepted before `barograph apply` sets `serving` to it."""
    prices: tuple[TokenPrice, ...] = ()
    """What tokens cost, for calls whose cost is not observed."""
    budget: Budget = Budget()
    """What the model may cost."""
    user: str = ""
    """The member of events that names the user, `context.NAME`, for costs by user; empty: none."""
    caller: str = ""
    """The member of events that names the program that requests predictions, `context.NAME`; empty: none."""
    deployments: dict[str, Deployment] = msgspec.field(default_factory=dict)
    """Version → how it is served."""
    evaluators: dict[str, Evaluator] = msgspec.field(default_factory=dict)
    """The checks and judges of answers, by name."""
    thresholds: Thresholds = Thresholds()
    """The thresholds of PSI."""
    rate_thresholds: RateThresholds = RateThresholds()
    """The thresholds of a rate's change."""
    slo: Slo = Slo()
    """The model's service level objectives."""
    alerts: Alerts = Alerts()
    """Changes to the default alert rules."""
    ignored: dict[str, str] = msgspec.field(default_factory=dict)
    """Members of `features` that are known and not monitored, each with the reason."""
    columns: Columns = Columns()
    """The names of columns in the model's tables, which `barograph load`, `check` and `skew` read."""

    def __post_init__(self) -> None:
        _to_float(self, "raw_share")

    @property
    def sources(self) -> list[str]:
        """The sources that fields and slices read, in the contract's order; a source may repeat."""
        return [field.source for field in self.fields] + [
            source for dimension in self.slices for source in dimension.sources
        ]

    @property
    def id(self) -> str:
        """The hash of the content: 16 hexadecimal digits."""
        return content_hash(self)


def content_hash(value: object) -> str:
    """Hash a struct by its canonical JSON: SHA-256, the first 16 hexadecimal digits.

    Members that a struct lists in `LATER` were added later; at their defaults they do not change the id.
    """
    return hashlib.sha256(msgspec.json.encode(_content(value))).hexdigest()[:16]


def _content(value: object) -> object:
    """The content to hash: maps in the order of their keys, structs in the order of their members."""
    if isinstance(value, msgspec.Struct):
        later = getattr(type(value), "LATER", ())
        return {
            member.encode_name: _content(getattr(value, member.name))
            for member in _members(type(value))
            if member.name not in later or getattr(value, member.name) != _default(member)
        }
    if isinstance(value, dict):
        return {key: _content(value[key]) for key in sorted(value)}
    # Check types instead of items: a baseline has a thousand quantiles per field.
    if isinstance(value, tuple) and any(issubclass(kind, _NESTED) for kind in set(map(type, value))):
        return [_content(item) for item in value]
    return value


_NESTED = (msgspec.Struct, dict, tuple)


@cache
def _members(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


def _default(member: Any) -> object:
    if member.default is not msgspec.NODEFAULT:
        return member.default
    return None if member.default_factory is msgspec.NODEFAULT else member.default_factory()


_UNITS = (("d", SECONDS_PER_DAY), ("h", SECONDS_PER_HOUR), ("m", 60), ("s", 1))


def format_duration(seconds: int) -> str:
    """Write seconds in the largest unit that gives a whole number: 900 → `15m`, 86400 → `1d`, 90 → `90s`."""
    for unit, size in _UNITS:
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    raise AssertionError(seconds)


def parse_duration(text: str) -> int:
    """Convert `15m`, `1h`, `2d` or `90s` to seconds.

    Args:
        text: The duration.

    Raises:
        ValueError: The text is not a whole number followed by s, m, h or d.
    """
    sizes = dict(_UNITS)
    number, unit = text[:-1], text[-1:]
    if not number.isdecimal() or unit not in sizes or int(number) == 0:
        raise ValueError(f"{text!r} is not a duration: write a whole number and a unit, such as 90s, 15m, 1h or 7d")
    return int(number) * sizes[unit]
