"""The contract of one model: what its events hold, how they are watched, and who is told.

One YAML file per model is the single specification of training and serving, of topics, tables, dashboards and
alerts. This module holds the frozen objects; `barograph.contract.file` reads and writes the file.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any, ClassVar, Literal

import msgspec

from barograph.contract.alerts import Alerts

FieldType = Literal["float", "int", "bool", "category", "timestamp"]
"""`timestamp` values are judged as their age: event time minus value, in seconds."""

SketchKind = Literal["kll", "req"]

SECONDS_PER_HOUR = 3600

CROSS = " * "
"""Joins the sources of a crossed slice, and its values: `origin * carrier=JFK * AA`."""


def _to_float(struct: msgspec.Struct, *names: str) -> None:
    """Make floats of whole numbers and 0 of -0, so that contracts that are equal have the same id."""
    for name in names:
        value = getattr(struct, name)
        if value is not None:
            msgspec.structs.force_setattr(struct, name, value + 0.0)


class Window(msgspec.Struct, frozen=True, order=True):
    """A rolling union of panes: half-open [start, end), ends at multiples of the hop since the Unix epoch."""

    length_s: int
    hop_s: int

    @property
    def name(self) -> str:
        """The length as people write it: `15m`, `1h`, `1d`, `7d`."""
        return format_duration(self.length_s)


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One observed series of a prediction: a feature, the score, the class, latency, a metric."""

    LATER: ClassVar = ("policy",)

    name: str
    type: FieldType
    source: str
    """Where the value stands in an event: `features.NAME`, `metrics.NAME`, `context.NAME`, `scores.CLASS`, `score`,
    `class`, `latency_ms`, or `confidence`, which is the largest of `scores`."""
    description: str = ""
    unit: str = ""
    critical: bool = False
    """Whether a major verdict pages (else it is a ticket)."""
    low: float | None = None
    """The least valid value; smaller ones count as `below`. None: no lower limit."""
    high: float | None = None
    nulls: Literal["allow", "refuse"] = "allow"
    weight: float = 1.0
    """Importance for the false-discovery control over fields."""
    sketch: SketchKind = "kll"
    """REQ where the tail is read (latency, token counts), KLL otherwise."""
    pii: Literal["keep", "hash", "drop", "truncate"] = "keep"
    policy: Literal["flag", "reject"] = "flag"
    """What `Publisher.validate` does with a value that violates the contract: count it, or raise."""

    def __post_init__(self) -> None:
        _to_float(self, "low", "high", "weight")


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """A dimension by which predictions are cut into slices named `NAME=value`."""

    LATER: ClassVar = ("sketches",)

    name: str
    source: str
    """`features.NAME`, `context.NAME` or `arm`; or several of them crossed, joined by `CROSS`."""
    top: int = 20
    """How many values (the most frequent of training) get a slice of their own; the rest is `NAME=other`."""
    values: tuple[str, ...] = ()
    """The values, where training data does not hold this dimension (arms, request context)."""
    sketches: tuple[str, ...] = ()
    """Numeric fields whose sketches and moments are kept per slice too; every slice has its counts in any case."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources that are crossed; one where none are."""
        return tuple(self.source.split(CROSS))


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """Where the levels of PSI begin, and where a firing alert clears."""

    minor: float = 0.1
    major: float = 0.2
    clear: float = 0.15

    def __post_init__(self) -> None:
        _to_float(self, "minor", "major", "clear")


class RateThresholds(msgspec.Struct, frozen=True, kw_only=True):
    """Where the levels of a rate's change begin, as shares (0.05 is five points)."""

    minor: float = 0.01
    major: float = 0.05

    def __post_init__(self) -> None:
        _to_float(self, "minor", "major")


class LabelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The ground truth that arrives later."""

    LATER: ClassVar = ("threshold", "classes", "horizon_s", "mature")

    type: Literal["bool", "category", "float"]
    positive: str | bool | None = None
    """The class that the score is the probability of (binary models)."""
    threshold: float = 0.5
    """A score from here on predicts the positive class, where an event has no `class` (binary models)."""
    classes: tuple[str, ...] = ()
    """All classes of a model with more than two, whose probabilities are in `scores`."""
    horizon_s: int = 30 * 86400
    """Labels that come later than this after the prediction are counted and do not change what was measured."""
    mature: float = 0.95
    """A window is mature when this share of the labels that ever come has come, by the learned curve."""

    def __post_init__(self) -> None:
        _to_float(self, "threshold", "mature")


class Arms(msgspec.Struct, frozen=True, kw_only=True):
    """How requests are assigned to the arms of an A/B test."""

    shares: dict[str, float]
    """Arm → the share of units that is assigned to it; they sum to 1."""
    unit: str = ""
    """What is assigned: `context.NAME` (a user, a session); empty where each prediction is assigned by itself."""


class Slo(msgspec.Struct, frozen=True, kw_only=True):
    """What the model promises."""

    LATER: ClassVar = ("performance",)

    latency_ms: float | None = None
    latency_share: float | None = None
    error_rate: float | None = None
    performance: dict[str, float] = msgspec.field(default_factory=dict)
    """Metric (`auc`, `accuracy`, `mae`, …) → the least value, or of an error the largest, at mature labels."""

    def __post_init__(self) -> None:
        _to_float(self, "latency_ms", "latency_share", "error_rate")


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """Everything Barograph needs to know about one model."""

    LATER: ClassVar = ("season", "arms", "alerts")

    model: str
    description: str = ""
    team: str = ""
    owners: tuple[str, ...] = ()
    route: str = ""
    timezone: str = "UTC"
    pane_s: int = 60
    lateness_s: int = 120
    out_of_order_s: int = 60
    windows: tuple[Window, ...] = (Window(900, 60), Window(3600, 300), Window(86400, 3600))
    raw_share: float = 1.0
    """The share of raw events that is kept (0 none, 1 all), chosen by hash of the prediction id."""
    fields: tuple[Field, ...] = ()
    slices: tuple[Slice, ...] = ()
    slice_min_n: int = 500
    """Slice verdicts are written only for windows of at least this many events."""
    season: Literal["none", "hour_of_week"] = "none"
    """Whether windows are judged against what training held at the same hours of the week, in `timezone`."""
    label: LabelSpec | None = None
    arms: Arms | None = None
    thresholds: Thresholds = Thresholds()
    rate_thresholds: RateThresholds = RateThresholds()
    slo: Slo = Slo()
    alerts: Alerts = Alerts()
    ignored: dict[str, str] = msgspec.field(default_factory=dict)
    """Members of `features` that are known and not watched, each with the reason."""

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

    Members that a struct names in `LATER` came after ids were given; at their defaults they leave the id as it was.
    """
    return hashlib.sha256(msgspec.json.encode(_content(value))).hexdigest()[:16]


def _content(value: object) -> object:
    """The content that is hashed: maps sorted by their keys, structs in the order of their members."""
    if isinstance(value, msgspec.Struct):
        later = getattr(type(value), "LATER", ())
        return {
            member.encode_name: _content(getattr(value, member.name))
            for member in _members(type(value))
            if member.name not in later or getattr(value, member.name) != _default(member)
        }
    if isinstance(value, dict):
        return {key: _content(value[key]) for key in sorted(value)}
    # By kinds, not by items: a baseline holds a thousand quantiles of each field.
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


_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def format_duration(seconds: int) -> str:
    """Write seconds as the largest whole unit: 900 → `15m`, 86400 → `1d`, 90 → `90s`."""
    for unit, size in _UNITS:
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    raise AssertionError(seconds)


def parse_duration(text: str) -> int:
    """Read `15m`, `1h`, `2d` or `90s` as seconds.

    Raises:
        ValueError: the text is no whole number followed by s, m, h or d.
    """
    sizes = dict(_UNITS)
    number, unit = text[:-1], text[-1:]
    if not number.isdecimal() or unit not in sizes or int(number) == 0:
        raise ValueError(f"{text!r} is no duration: write a whole number and a unit, such as 90s, 15m, 1h or 7d")
    return int(number) * sizes[unit]
