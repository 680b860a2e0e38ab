"""The definition of the contract file: every key with its kind, default and meaning.

The reader, the published JSON Schema and docs/contract.md's tables are made from `CONTRACT`.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from barograph.contract import FieldType, SketchKind
from barograph.contract.alerts_section import ALERTS
from barograph.contract.kinds import (
    ChoiceKind,
    Diagnostics,
    DurationKind,
    EventValueKind,
    FlagKind,
    IntegerKind,
    Key,
    ListKind,
    MapKind,
    NameKind,
    NumberKind,
    Path,
    RecordKind,
    TextKind,
    Unreadable,
)
from barograph.contract.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode

FORMAT_VERSION = 1
"""The version of the file's format that this code reads and writes."""


class RawShareKind(msgspec.Struct, frozen=True):
    """The share of raw events that is kept: `all`, `none` or `{share: 0.1}`."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> float:
        if isinstance(node, ScalarNode) and node.text in ("all", "none"):
            return 1.0 if node.text == "all" else 0.0
        if not isinstance(node, MappingNode):
            raise Unreadable("write all, none or {share: 0.1}")
        shape = RecordKind((Key("share", NumberKind(0.0, 1.0), "", default="0.1", required=True),))
        return float(shape.read(node, path, diagnostics).get("share", 1.0))

    def schema(self) -> dict[str, Any]:
        share = {
            "type": "object",
            "additionalProperties": False,
            "required": ["share"],
            "properties": {"share": NumberKind(0.0, 1.0).schema()},
        }
        return {"anyOf": [{"enum": ["all", "none"]}, share]}


class RangeKind(msgspec.Struct, frozen=True):
    """A pair of limits, each of which may be null."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> tuple[float | None, float | None]:
        if not isinstance(node, SequenceNode) or len(node.items) != 2:
            raise Unreadable("write two limits: [0, 100], or [0, null] where one side is open")
        limits: list[float | None] = []
        for position, item in enumerate(node.items):
            if isinstance(item, ScalarNode) and item.is_null:
                limits.append(None)
            else:
                limits.append(NumberKind().read(item, (*path, position), diagnostics))
        return limits[0], limits[1]

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": ["number", "null"]}, "minItems": 2, "maxItems": 2}


class PositiveClassKind(msgspec.Struct, frozen=True):
    """The class that the score is the probability of: true or false without quotes, or text."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> str | bool:
        if isinstance(node, ScalarNode) and node.is_plain and node.text in ("true", "false"):
            return node.text == "true"
        return EventValueKind().read(node, path, diagnostics)

    def schema(self) -> dict[str, Any]:
        return {"type": ["boolean", "string", "number"]}


class SlicesKind(msgspec.Struct, frozen=True):
    """Slice dimensions: a map from names to their settings, or a list of names alone."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> dict[str, dict[str, Any]]:
        if isinstance(node, SequenceNode):
            names = ListKind(NameKind(), distinct=True).read(node, path, diagnostics)
            for position, item in enumerate(node.items):
                if isinstance(item, ScalarNode):
                    diagnostics.lines[(*path, item.text)] = item.line
                    if (*path, position) in diagnostics.failed:
                        diagnostics.failed.add((*path, item.text))
            return {name: {} for name in names}
        if isinstance(node, MappingNode):
            read: dict[str, dict[str, Any]] = MapKind(SLICE).read(node, path, diagnostics)
            return read
        raise Unreadable("write a list of names, or a map from names to {from, top, values}")

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [ListKind(NameKind(), distinct=True).schema(), MapKind(SLICE).schema()]}


_SOURCE = NameKind("a source such as features.temp")

FIELD = RecordKind(
    (
        Key(
            "type",
            ChoiceKind(get_args(FieldType)),
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
            RangeKind(),
            "The least and the largest valid value; smaller ones count as `below`, larger ones as `above`. "
            "null: no limit on that side. Numbers only (a timestamp's age in seconds).",
            default="[null, null]",
        ),
        Key("critical", FlagKind(), "Whether a major verdict pages; else it is a ticket.", default="false"),
        Key("nulls", ChoiceKind(("allow", "refuse")), "Whether nulls are part of normal traffic.", default="allow"),
        Key(
            "weight",
            NumberKind(0.0, 1000.0, above=True),
            "Importance, for the control of false discoveries over fields.",
            default="1",
        ),
        Key("unit", TextKind(), "The unit, for axes: `°F`, `ms`, `EUR`.", default='""'),
        Key("description", TextKind(), "What the field is, for people.", default='""'),
        Key(
            "sketch",
            ChoiceKind(get_args(SketchKind)),
            "`req` where the tail is read (latency, token counts), `kll` otherwise.",
            default="kll",
        ),
        Key(
            "pii",
            ChoiceKind(("keep", "hash", "drop", "truncate")),
            "What the publisher does before a value leaves the process: `hash` publishes a keyed hash "
            "(HMAC-SHA-256, key in BAROGRAPH_PII_KEY), `truncate` the first 3 characters, `drop` nothing.",
            default="keep",
        ),
        Key(
            "policy",
            ChoiceKind(("flag", "reject")),
            "What `Publisher.validate` does with a value that violates the contract: `flag` counts it, `reject` "
            "raises before the model is called.",
            default="flag",
        ),
    )
)

SLICE = RecordKind(
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
            IntegerKind(1, 1000),
            "How many values, the most frequent of training, get a slice of their own; the rest is `NAME=other`.",
            default="20",
        ),
        Key(
            "values",
            ListKind(EventValueKind(), at_least=1, distinct=True),
            "The values that get a slice, where training data does not hold this dimension (arms, request context).",
            default="[]",
        ),
        Key(
            "sketches",
            ListKind(NameKind("the name of a numeric field"), distinct=True),
            "Numeric fields whose quantiles and moments are kept for each of these slices too; counts always are.",
            default="[]",
        ),
    )
)

WINDOW = RecordKind(
    (
        Key(
            "length",
            DurationKind(),
            "The window's length, a multiple of hop and pane.",
            default="15m",
            required=True,
        ),
        Key("hop", DurationKind(), "How often a window ends, a multiple of the pane.", default="1m", required=True),
    )
)

LABEL = RecordKind(
    (
        Key("type", ChoiceKind(("bool", "category", "float")), "What a label is.", default="bool", required=True),
        Key(
            "positive",
            PositiveClassKind(),
            "The class that the score is the probability of (binary models): true or false, or a class.",
            default="no such class",
        ),
        Key(
            "threshold",
            NumberKind(0.0, 1.0),
            "A score from here on predicts the positive class, where an event has no `class` (binary models).",
            default="0.5",
        ),
        Key(
            "classes",
            ListKind(EventValueKind(), at_least=2, distinct=True),
            "All classes of a model with more than two, whose probabilities are in `scores`.",
            default="[]",
        ),
        Key(
            "horizon",
            DurationKind(),
            "Labels that come later than this after their prediction are counted and do not change what was measured.",
            default="30d",
        ),
        Key(
            "mature",
            NumberKind(0.0, 1.0, above=True),
            "A window is mature when this share of the labels that ever come has come, by the learned curve.",
            default="0.95",
        ),
    )
)

ARMS = RecordKind(
    (
        Key(
            "shares",
            MapKind(NumberKind(0.0, 1.0, above=True)),
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

THRESHOLDS = RecordKind(
    (
        Key(
            "psi",
            RecordKind(
                (
                    Key("minor", NumberKind(0.0, 100.0, above=True), "PSI from which a verdict is minor.", "0.1"),
                    Key("major", NumberKind(0.0, 100.0, above=True), "PSI from which a verdict is major.", "0.2"),
                    Key(
                        "clear",
                        NumberKind(0.0, 100.0, above=True),
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
            RecordKind(
                (
                    Key("minor", NumberKind(0.0, 1.0, above=True), "Change from which a verdict is minor.", "0.01"),
                    Key("major", NumberKind(0.0, 1.0, above=True), "Change from which a verdict is major.", "0.05"),
                )
            ),
            "Where the levels of a rate's change begin, as shares: 0.05 is five points.",
            default="{minor: 0.01, major: 0.05}",
        ),
    )
)

SLO = RecordKind(
    (
        Key("latency_ms", NumberKind(0.0, above=True), "The latency that is promised, in milliseconds.", "no promise"),
        Key(
            "latency_share",
            NumberKind(0.0, 1.0, above=True),
            "The share of predictions that keep it: 0.99 is the 99th percentile.",
            "no promise",
        ),
        Key("error_rate", NumberKind(0.0, 1.0), "The share of predictions that may fail.", "no promise"),
        Key(
            "performance",
            MapKind(NumberKind()),
            "Metrics with the least value that is promised at mature labels, of errors the largest: `{auc: 0.7}`.",
            "no promise",
        ),
    )
)

CONTRACT = RecordKind(
    (
        Key(
            "contract",
            IntegerKind(1, 10_000),
            "The version of this file's format.",
            default=str(FORMAT_VERSION),
            required=True,
        ),
        Key("model", NameKind(), "The model's name, as events carry it.", default="flight-delay", required=True),
        Key("description", TextKind(), "What the model decides, for people.", default='""'),
        Key("team", TextKind(), "Who runs it.", default='""'),
        Key("owners", ListKind(NameKind(), distinct=True), "Who may change its contract.", default="[]"),
        Key("route", TextKind(), "Where its alerts go: a contact point or channel.", default='""'),
        Key(
            "timezone",
            NameKind("a time zone such as Europe/Berlin"),
            "The time zone in which people read its days.",
            "UTC",
        ),
        Key("pane", DurationKind(), "The length of a pane: it divides an hour or is a multiple of one.", "1m"),
        Key("lateness", DurationKind(zero=True), "How long after its end a pane waits before it is sealed.", "2m"),
        Key("out_of_order", DurationKind(zero=True), "How far event times may run behind the newest one.", "1m"),
        Key(
            "windows",
            ListKind(WINDOW, at_least=1),
            "The rolling windows that are judged.",
            default="[{length: 15m, hop: 1m}, {length: 1h, hop: 5m}, {length: 1d, hop: 1h}]",
        ),
        Key(
            "raw",
            RawShareKind(),
            "How much of the raw events is kept: all, none or a share, chosen by hash of the prediction id.",
            default="all",
        ),
        Key("fields", MapKind(FIELD), "The fields that are watched, by name.", default="{}"),
        Key(
            "slices",
            SlicesKind(),
            "The dimensions by which predictions are cut into slices `NAME=value`: a map, or a list of names.",
            default="[]",
        ),
        Key(
            "slice_min_n",
            IntegerKind(0, 10**12),
            "Slice verdicts are written only for windows of at least this many events.",
            default="500",
        ),
        Key(
            "season",
            ChoiceKind(("none", "hour_of_week")),
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
            MapKind(TextKind()),
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
