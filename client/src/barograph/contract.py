"""The contract of one model: what its events hold, how they are watched, and who is told.

One YAML file per model is the single specification of training and serving, of topics, tables, dashboards and
alerts. This module holds the frozen objects; `barograph.contract_yaml` reads and writes the file.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

FieldType = Literal["float", "int", "bool", "category", "timestamp"]
"""`timestamp` values are judged as their age: event time minus value, in seconds."""

SketchKind = Literal["kll", "req"]

SECONDS_PER_HOUR = 3600


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

    name: str
    type: FieldType
    source: str
    """Where the value stands in an event: `features.NAME`, `metrics.NAME`, `context.NAME`, `score`, `class`,
    `latency_ms`."""
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

    def __post_init__(self) -> None:
        _to_float(self, "low", "high", "weight")


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """A dimension by which predictions are cut into slices named `NAME=value`."""

    name: str
    source: str
    """`features.NAME`, `context.NAME` or `arm`."""
    top: int = 20
    """How many values (the most frequent of training) get a slice of their own; the rest is `NAME=other`."""
    values: tuple[str, ...] = ()
    """The values, where training data does not hold this dimension (arms, request context)."""


class Lines(msgspec.Struct, frozen=True, kw_only=True):
    """Where the levels of PSI begin, and where a firing alert clears."""

    minor: float = 0.1
    major: float = 0.2
    clear: float = 0.15

    def __post_init__(self) -> None:
        _to_float(self, "minor", "major", "clear")


class RateLines(msgspec.Struct, frozen=True, kw_only=True):
    """Where the levels of a rate's change begin, as shares (0.05 is five points)."""

    minor: float = 0.01
    major: float = 0.05

    def __post_init__(self) -> None:
        _to_float(self, "minor", "major")


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """The ground truth that arrives later."""

    type: Literal["bool", "category", "float"]
    positive: str | bool | None = None
    """The class that the score is the probability of (binary models)."""


class Slo(msgspec.Struct, frozen=True, kw_only=True):
    """What the model promises."""

    latency_ms: float | None = None
    latency_share: float | None = None
    error_rate: float | None = None

    def __post_init__(self) -> None:
        _to_float(self, "latency_ms", "latency_share", "error_rate")


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """Everything Barograph needs to know about one model."""

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
    label: Label | None = None
    lines: Lines = Lines()
    rate_lines: RateLines = RateLines()
    slo: Slo = Slo()
    ignored: dict[str, str] = msgspec.field(default_factory=dict)
    """Members of `features` that are known and not watched, each with the reason."""

    def __post_init__(self) -> None:
        _to_float(self, "raw_share")

    @property
    def id(self) -> str:
        """The hash of the content: 16 hexadecimal digits."""
        return content_hash(self)


def content_hash(value: object) -> str:
    """Hash a struct by its canonical JSON: SHA-256, the first 16 hexadecimal digits."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:16]


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
