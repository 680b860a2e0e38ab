"""The definition of the contract file: every key with its kind, default and meaning.

The reader, the published JSON Schema and docs/contract.md's tables are made from `CONTRACT`.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from barograph.contract import FieldType, SketchKind
from barograph.contract.alerts_section import ALERTS
from barograph.contract.kinds import (
    Choice,
    Duration,
    Flag,
    Integer,
    Key,
    ListOf,
    MapOf,
    Name,
    Number,
    Path,
    Reader,
    Record,
    Text,
    Unreadable,
    Value,
)
from barograph.contract.yaml_tree import Items, Node, Pairs, Scalar

FORMAT_VERSION = 1
"""The version of the file's format that this code reads and writes."""


class Raw(msgspec.Struct, frozen=True):
    """The share of raw events that is kept: `all`, `none` or `{share: 0.1}`."""

    def read(self, node: Node, path: Path, reader: Reader) -> float:
        if isinstance(node, Scalar) and node.text in ("all", "none"):
            return 1.0 if node.text == "all" else 0.0
        if not isinstance(node, Pairs):
            raise Unreadable("write all, none or {share: 0.1}")
        shape = Record((Key("share", Number(0.0, 1.0), "", default="0.1", required=True),))
        return float(shape.read(node, path, reader).get("share", 1.0))

    def schema(self) -> dict[str, Any]:
        share = {
            "type": "object",
            "additionalProperties": False,
            "required": ["share"],
            "properties": {"share": Number(0.0, 1.0).schema()},
        }
        return {"anyOf": [{"enum": ["all", "none"]}, share]}


class Range(msgspec.Struct, frozen=True):
    """A pair of limits, each of which may be null."""

    def read(self, node: Node, path: Path, reader: Reader) -> tuple[float | None, float | None]:
        if not isinstance(node, Items) or len(node.items) != 2:
            raise Unreadable("write two limits: [0, 100], or [0, null] where one side is open")
        limits: list[float | None] = []
        for position, item in enumerate(node.items):
            if isinstance(item, Scalar) and item.is_null:
                limits.append(None)
            else:
                limits.append(Number().read(item, (*path, position), reader))
        return limits[0], limits[1]

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": ["number", "null"]}, "minItems": 2, "maxItems": 2}


class Positive(msgspec.Struct, frozen=True):
    """The class that the score is the probability of: true or false without quotes, or text."""

    def read(self, node: Node, path: Path, reader: Reader) -> str | bool:
        if isinstance(node, Scalar) and node.plain and node.text in ("true", "false"):
            return node.text == "true"
        return Value().read(node, path, reader)

    def schema(self) -> dict[str, Any]:
        return {"type": ["boolean", "string", "number"]}


class Slices(msgspec.Struct, frozen=True):
    """Slice dimensions: a map from names to their settings, or a list of names alone."""

    def read(self, node: Node, path: Path, reader: Reader) -> dict[str, dict[str, Any]]:
        if isinstance(node, Items):
            names = ListOf(Name(), distinct=True).read(node, path, reader)
            for position, item in enumerate(node.items):
                if isinstance(item, Scalar):
                    reader.lines[(*path, item.text)] = item.line
                    if (*path, position) in reader.failed:
                        reader.failed.add((*path, item.text))
            return {name: {} for name in names}
        if isinstance(node, Pairs):
            read: dict[str, dict[str, Any]] = MapOf(SLICE).read(node, path, reader)
            return read
        raise Unreadable("write a list of names, or a map from names to {from, top, values}")

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [ListOf(Name(), distinct=True).schema(), MapOf(SLICE).schema()]}


_SOURCE = Name("a source such as features.temp")

FIELD = Record(
    (
        Key(
            "type",
            Choice(get_args(FieldType)),
            "What the values are. `float` and `int` are numbers, `category` is text, `timestamp` is an epoch "
            "in milliseconds or RFC 3339 text and is judged as its age (event time minus value, in seconds).",
            default="float",
            required=True,
        ),
        Key(
            "from",
            _SOURCE,
            "Where the value stands in an event: `features.NAME`, `context.NAME`, `metrics.NAME`, `scores.CLASS`, "
            "`score`, `class` or `latency_ms`; `confidence` is the largest of `scores`.",
            default="features.NAME; for the fields score, class and latency_ms the member of that name",
        ),
        Key(
            "range",
            Range(),
            "The least and the largest valid value; smaller ones count as `below`, larger ones as `above`. "
            "null: no limit on that side. Numbers only (a timestamp's age in seconds).",
            default="[null, null]",
        ),
        Key("critical", Flag(), "Whether a major verdict pages; else it is a ticket.", default="false"),
        Key("nulls", Choice(("allow", "refuse")), "Whether nulls are part of normal traffic.", default="allow"),
        Key(
            "weight",
            Number(0.0, 1000.0, above=True),
            "Importance, for the control of false discoveries over fields.",
            default="1",
        ),
        Key("unit", Text(), "The unit, for axes: `°F`, `ms`, `EUR`.", default='""'),
        Key("description", Text(), "What the field is, for people.", default='""'),
        Key(
            "sketch",
            Choice(get_args(SketchKind)),
            "`req` where the tail is read (latency, token counts), `kll` otherwise.",
            default="kll",
        ),
        Key(
            "pii",
            Choice(("keep", "hash", "drop", "truncate")),
            "What the publisher does before a value leaves the process: `hash` publishes a keyed hash "
            "(HMAC-SHA-256, key in BAROGRAPH_PII_KEY), `truncate` the first 3 characters, `drop` nothing.",
            default="keep",
        ),
        Key(
            "policy",
            Choice(("flag", "reject")),
            "What `Publisher.validate` does with a value that violates the contract: `flag` counts it, `reject` "
            "raises before the model is called.",
            default="flag",
        ),
    )
)

SLICE = Record(
    (
        Key(
            "from",
            _SOURCE,
            "Where the value stands: `features.NAME`, `context.NAME` or `arm`. Several, joined by ` * `, are crossed: "
            "`features.origin * features.carrier` makes slices such as `JFK * AA`.",
            default="the source of the field of that name, arm for the slice arm, else context.NAME",
        ),
        Key(
            "top",
            Integer(1, 1000),
            "How many values, the most frequent of training, get a slice of their own; the rest is `NAME=other`.",
            default="20",
        ),
        Key(
            "values",
            ListOf(Value(), at_least=1, distinct=True),
            "The values that get a slice, where training data does not hold this dimension (arms, request context).",
            default="[]",
        ),
        Key(
            "sketches",
            ListOf(Name("the name of a numeric field"), distinct=True),
            "Numeric fields whose quantiles and moments are kept for each of these slices too; counts always are.",
            default="[]",
        ),
    )
)

WINDOW = Record(
    (
        Key(
            "length",
            Duration(),
            "The window's length, a multiple of hop and pane.",
            default="15m",
            required=True,
        ),
        Key("hop", Duration(), "How often a window ends, a multiple of the pane.", default="1m", required=True),
    )
)

LABEL = Record(
    (
        Key("type", Choice(("bool", "category", "float")), "What a label is.", default="bool", required=True),
        Key(
            "positive",
            Positive(),
            "The class that the score is the probability of (binary models): true or false, or a class.",
            default="no such class",
        ),
        Key(
            "threshold",
            Number(0.0, 1.0),
            "A score from here on predicts the positive class, where an event has no `class` (binary models).",
            default="0.5",
        ),
        Key(
            "classes",
            ListOf(Value(), at_least=2, distinct=True),
            "All classes of a model with more than two, whose probabilities are in `scores`.",
            default="[]",
        ),
        Key(
            "horizon",
            Duration(),
            "Labels that come later than this after their prediction are counted and do not change what was measured.",
            default="30d",
        ),
        Key(
            "mature",
            Number(0.0, 1.0, above=True),
            "A window is mature when this share of the labels that ever come has come, by the learned curve.",
            default="0.95",
        ),
    )
)

ARMS = Record(
    (
        Key(
            "shares",
            MapOf(Number(0.0, 1.0, above=True)),
            "Each arm with the share of units that is assigned to it; they sum to 1.",
            default="{a: 0.5, b: 0.5}",
            required=True,
        ),
        Key(
            "unit",
            _SOURCE,
            "What is assigned: `context.NAME`, such as a user or a session.",
            default="each prediction by itself",
        ),
    )
)

THRESHOLDS = Record(
    (
        Key(
            "psi",
            Record(
                (
                    Key("minor", Number(0.0, 100.0, above=True), "PSI from which a verdict is minor.", "0.1"),
                    Key("major", Number(0.0, 100.0, above=True), "PSI from which a verdict is major.", "0.2"),
                    Key(
                        "clear",
                        Number(0.0, 100.0, above=True),
                        "PSI below which a firing alert clears.",
                        "0.15",
                    ),
                )
            ),
            "Where the levels of PSI begin.",
            default="{minor: 0.1, major: 0.2, clear: 0.15}",
        ),
        Key(
            "rates",
            Record(
                (
                    Key("minor", Number(0.0, 1.0, above=True), "Change from which a verdict is minor.", "0.01"),
                    Key("major", Number(0.0, 1.0, above=True), "Change from which a verdict is major.", "0.05"),
                )
            ),
            "Where the levels of a rate's change begin, as shares: 0.05 is five points.",
            default="{minor: 0.01, major: 0.05}",
        ),
    )
)

SLO = Record(
    (
        Key("latency_ms", Number(0.0, above=True), "The latency that is promised, in milliseconds.", "no promise"),
        Key(
            "latency_share",
            Number(0.0, 1.0, above=True),
            "The share of predictions that keep it: 0.99 is the 99th percentile.",
            "no promise",
        ),
        Key("error_rate", Number(0.0, 1.0), "The share of predictions that may fail.", "no promise"),
        Key(
            "performance",
            MapOf(Number()),
            "Metrics with the least value that is promised at mature labels, of errors the largest: `{auc: 0.7}`.",
            "no promise",
        ),
    )
)

CONTRACT = Record(
    (
        Key(
            "contract",
            Integer(1, 10_000),
            "The version of this file's format.",
            default=str(FORMAT_VERSION),
            required=True,
        ),
        Key("model", Name(), "The model's name, as events carry it.", default="flight-delay", required=True),
        Key("description", Text(), "What the model decides, for people.", default='""'),
        Key("team", Text(), "Who runs it.", default='""'),
        Key("owners", ListOf(Name(), distinct=True), "Who may change its contract.", default="[]"),
        Key("route", Text(), "Where its alerts go: a contact point or channel.", default='""'),
        Key(
            "timezone", Name("a time zone such as Europe/Berlin"), "The time zone in which people read its days.", "UTC"
        ),
        Key("pane", Duration(), "The length of a pane: it divides an hour or is a multiple of one.", "1m"),
        Key("lateness", Duration(zero=True), "How long after its end a pane waits before it is sealed.", "2m"),
        Key("out_of_order", Duration(zero=True), "How far event times may run behind the newest one.", "1m"),
        Key(
            "windows",
            ListOf(WINDOW, at_least=1),
            "The rolling windows that are judged.",
            default="[{length: 15m, hop: 1m}, {length: 1h, hop: 5m}, {length: 1d, hop: 1h}]",
        ),
        Key(
            "raw",
            Raw(),
            "How much of the raw events is kept: all, none or a share, chosen by hash of the prediction id.",
            default="all",
        ),
        Key("fields", MapOf(FIELD), "The fields that are watched, by name.", default="{}"),
        Key(
            "slices",
            Slices(),
            "The dimensions by which predictions are cut into slices `NAME=value`: a map, or a list of names.",
            default="[]",
        ),
        Key(
            "slice_min_n",
            Integer(0, 10**12),
            "Slice verdicts are written only for windows of at least this many events.",
            default="500",
        ),
        Key(
            "season",
            Choice(("none", "hour_of_week")),
            "`hour_of_week` judges windows against what training held at the same hours of the week, in `timezone`.",
            default="none",
        ),
        Key("label", LABEL, "The ground truth that arrives later.", default="no labels"),
        Key("arms", ARMS, "How requests are assigned to the arms of an A/B test.", default="no test"),
        Key("thresholds", THRESHOLDS, "Where the levels begin.", default="those of psi and rates"),
        Key("slo", SLO, "What the model promises.", default="no promise"),
        Key("alerts", ALERTS, "How its alerts differ from the defaults.", default="{}"),
        Key(
            "ignored",
            MapOf(Text()),
            "Features that are known and not watched, each with the reason.",
            default="{}",
        ),
    )
)


def json_schema() -> dict[str, Any]:
    """Describe the contract file as JSON Schema (2020-12), for editors."""
    schema = CONTRACT.schema()
    schema["properties"]["contract"]["const"] = FORMAT_VERSION
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Barograph contract",
        "description": "Everything Barograph needs to know about one model.",
        "$comment": "Generated by python -m barograph.schemas --write.",
        **schema,
    }
