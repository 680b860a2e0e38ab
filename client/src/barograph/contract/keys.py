"""The definition of the contract file: every key with its kind, default and meaning.

The reader, the published JSON Schema and the tables of docs/contract.md are derived from `CONTRACT`. Defaults come from
the classes of `barograph.contract.model`.
"""

from __future__ import annotations

from datetime import date
from typing import Any, get_args

import msgspec

from barograph.contract import (
    Arms,
    Contract,
    Field,
    FieldType,
    LabelSpec,
    Rollback,
    ShadowTest,
    SketchKind,
    Slice,
    Text,
)
from barograph.contract.alerts import RULES
from barograph.contract.alerts_section import ALERTS
from barograph.contract.evaluators_section import EVALUATOR
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
from barograph.contract.problems import quoted
from barograph.contract.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode
from barograph.contract.yaml_text import duration_scalar, flag_scalar, flow_list, flow_map, number_scalar

FORMAT_VERSION = 1
"""The version of the file format that this code reads and writes."""

_CONTRACT = Contract(model="")
_FIELD = Field(name="", type="float", source="")
_SLICE = Slice(name="", source="")
_LABEL = LabelSpec(type="bool")
_ARMS = Arms(shares={})
_SHADOW = ShadowTest(candidate="", of="", margins={})
_TEXT = Text()
_ROLLBACK = Rollback(prompt="", margins={})
_PSI, _RATES = _CONTRACT.thresholds, _CONTRACT.rate_thresholds
"""Objects with every default."""

_RAW_SHARE = RecordKind(
    (Key("share", NumberKind(0.0, 1.0), "The share that is stored.", default="0.1", required=True),)
)


class RawShareKind(msgspec.Struct, frozen=True):
    """The share of raw events that is stored: `all`, `none` or `{share: 0.1}`."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> float:
        if isinstance(node, ScalarNode) and node.text in ("all", "none"):
            return 1.0 if node.text == "all" else 0.0
        if not isinstance(node, MappingNode):
            raise Unreadable("write all, none or {share: 0.1}")
        share = _RAW_SHARE.read(node, path, diagnostics).get("share", _CONTRACT.raw_share)
        return float(share)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"enum": ["all", "none"]}, _RAW_SHARE.schema()]}


class RangeKind(msgspec.Struct, frozen=True):
    """A pair of limits, each of which may be null."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> tuple[float | None, float | None]:
        if not isinstance(node, SequenceNode) or len(node.items) != 2:
            raise Unreadable("write two limits: [0, 100], or [0, null] if one side is open")
        limits: list[float | None] = []
        for position, item in enumerate(node.items):
            if isinstance(item, ScalarNode) and item.is_null:
                limits.append(None)
            else:
                limits.append(NumberKind().read(item, (*path, position), diagnostics))
        return limits[0], limits[1]

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": ["number", "null"]}, "minItems": 2, "maxItems": 2}


class DayKind(msgspec.Struct, frozen=True):
    """A calendar day, `YYYY-MM-DD`."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> str:
        text = NameKind("a day such as 2026-11-29").read(node, path, diagnostics)
        try:
            day = date.fromisoformat(text)
        except ValueError:
            day = None
        if day is None or day.isoformat() != text:
            raise Unreadable(f"{quoted(text)} is not a day; write one such as 2026-11-29")
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "date"}


class PositiveClassKind(msgspec.Struct, frozen=True):
    """The class that the score is the probability of: true or false without quotes, or text."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> str | bool:
        if isinstance(node, ScalarNode) and node.is_plain and node.text in ("true", "false"):
            return node.text == "true"
        return EventValueKind().read(node, path, diagnostics)

    def schema(self) -> dict[str, Any]:
        return {"type": ["boolean", "string", "number"]}


class SlicesKind(msgspec.Struct, frozen=True):
    """Slice dimensions: a map from names to settings, or a list of names."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> dict[str, dict[str, Any]]:
        if isinstance(node, SequenceNode):
            names = ListKind(NameKind(), is_distinct=True).read(node, path, diagnostics)
            for position, item in enumerate(node.items):
                if isinstance(item, ScalarNode):
                    diagnostics.lines[(*path, item.text)] = item.line
                    if (*path, position) in diagnostics.failed:
                        diagnostics.failed.add((*path, item.text))
            return {name: {} for name in names}
        if isinstance(node, MappingNode):
            slices: dict[str, dict[str, Any]] = MapKind(SLICE).read(node, path, diagnostics)
            return slices
        raise Unreadable("write a list of names, or a map from names to {from, top, values}")

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [ListKind(NameKind(), is_distinct=True).schema(), MapKind(SLICE).schema()]}


_SOURCE = NameKind("a source such as features.temp")

FIELD = RecordKind(
    (
        Key(
            "type",
            ChoiceKind(get_args(FieldType)),
            "The type of the values. `float` and `int` are numbers, `bool` is true or false, `category` is text. "
            "`timestamp` is Unix time in milliseconds or RFC 3339 text; its age is monitored (event time minus value, "
            "in seconds).",
            default="float",
            required=True,
        ),
        Key(
            "from",
            _SOURCE,
            "The value's source in an event: `features.NAME`, `context.NAME`, `metrics.NAME`, `scores.CLASS`, "
            "`score`, `class`, `latency_ms`, or `confidence`, which is the largest of `scores`.",
            default="features.NAME; for the fields score, class and latency_ms the member of the event with that name",
        ),
        Key(
            "range",
            RangeKind(),
            "The smallest and the largest valid value. Smaller values count as `below`, larger ones as `above`. `null` "
            "means no limit on that side. For numbers, and for timestamps, whose range is of the age in seconds.",
            default="[null, null]",
        ),
        Key(
            "critical",
            FlagKind(),
            "Whether a major verdict on the field pages; if not, it creates a ticket.",
            default=flag_scalar(_FIELD.critical),
        ),
        Key(
            "nulls",
            ChoiceKind(("allow", "refuse")),
            "`allow` if nulls are part of normal traffic, otherwise `refuse`.",
            default=_FIELD.nulls,
        ),
        Key(
            "weight",
            NumberKind(0.0, 1000.0, above=True),
            "The field's weight in the control of the false discovery rate across fields (`q_value`).",
            default=number_scalar(_FIELD.weight),
        ),
        Key("unit", TextKind(), "The unit, for the axes of charts: `°F`, `ms`, `EUR`.", default='""'),
        Key("description", TextKind(), "What the field means, as text for readers.", default='""'),
        Key(
            "sketch",
            ChoiceKind(get_args(SketchKind)),
            "`req` if the tail matters (latency, token counts), otherwise `kll`.",
            default=_FIELD.sketch,
        ),
        Key(
            "pii",
            ChoiceKind(("keep", "hash", "drop", "truncate")),
            "What the publisher does before a value leaves the process: `hash` publishes a keyed hash "
            "(HMAC-SHA-256 per model and field, key in BAROGRAPH_PII_KEY), `truncate` publishes the first half of the "
            "characters, at most 3, `drop` does not publish the value, `keep` publishes it unchanged.",
            default=_FIELD.pii,
        ),
        Key(
            "policy",
            ChoiceKind(("flag", "reject")),
            "What `Publisher.validate` does with a value that violates the contract: `flag` counts it, `reject` "
            "raises an error before the model is called.",
            default=_FIELD.policy,
        ),
    )
)

SLICE = RecordKind(
    (
        Key(
            "from",
            _SOURCE,
            "The source of the values: `features.NAME`, `context.NAME` or `arm`. Sources joined by ` * ` are crossed: "
            "`features.origin * features.carrier` creates a slice per pair of values, such as `JFK * AA`.",
            default="the source of the field with the dimension's name; arm for the dimension arm; else context.NAME",
        ),
        Key(
            "top",
            IntegerKind(1, 1000),
            "How many values get a slice of their own: the most frequent in training. All others are in `NAME=other`.",
            default=str(_SLICE.top),
        ),
        Key(
            "values",
            ListKind(EventValueKind(), min_items=1, is_distinct=True),
            "The values that get a slice, if training data does not contain this dimension (arms, request context).",
            default="[]",
        ),
        Key(
            "sketches",
            ListKind(NameKind("the name of a numeric field"), is_distinct=True),
            "Numeric fields whose quantiles and moments are also stored per slice; counts are always stored.",
            default="[]",
        ),
    )
)

WINDOW = RecordKind(
    (
        Key(
            "length",
            DurationKind(),
            "The window's length, a multiple of its hop and of the pane; with `last` the longest span.",
            default=duration_scalar(_CONTRACT.windows[0].length_s),
            required=True,
        ),
        Key(
            "hop",
            DurationKind(),
            "The time between the ends of two windows, a multiple of the pane.",
            default=duration_scalar(_CONTRACT.windows[0].hop_s),
            required=True,
        ),
        Key(
            "last",
            IntegerKind(1, 10**9),
            "The window consists of the fewest most recent panes with at least so many predictions of the model.",
            default="all panes of the length",
        ),
    )
)

LABEL = RecordKind(
    (
        Key("type", ChoiceKind(("bool", "category", "float")), "The type of labels.", default="bool", required=True),
        Key(
            "positive",
            PositiveClassKind(),
            "For binary models, the class whose probability is the score: `true`, `false` or the name of a class.",
            default="no positive class",
        ),
        Key(
            "negative",
            EventValueKind(),
            "For labels of the type bool, the name of the other class, if labels or predictions contain it.",
            default="no name",
        ),
        Key(
            "threshold",
            NumberKind(0.0, 1.0),
            "For binary models: the smallest score that predicts the positive class, for events without `class`, "
            "and for estimates without labels. `infer` learns it from the class column.",
            default=number_scalar(_LABEL.threshold),
        ),
        Key(
            "classes",
            ListKind(EventValueKind(), min_items=2, is_distinct=True),
            "For models with more than two classes: all classes. Their probabilities are in `scores`.",
            default="[]",
        ),
        Key(
            "horizon",
            DurationKind(),
            "Labels that arrive later than this after their prediction are counted, but do not change performance.",
            default=duration_scalar(_LABEL.horizon_s),
        ),
        Key(
            "mature",
            NumberKind(0.0, 1.0, above=True),
            "A window is mature when this share of its expected labels has arrived, by the learned maturity curve.",
            default=number_scalar(_LABEL.mature),
        ),
    )
)

COLUMNS = RecordKind(
    (
        Key("id", NameKind(), "The column of prediction ids.", default="id"),
        Key("time", NameKind(), "The column of event times.", default="at"),
        Key("score", NameKind(), "The column of the score.", default="score"),
        Key("class", NameKind(), "The column of the predicted class.", default="class"),
        Key("label", NameKind(), "The column of labels.", default="label"),
        Key("latency", NameKind(), "The column of the latency in milliseconds.", default="latency_ms"),
        Key("scores", NameKind(), "The prefix of the columns of class probabilities.", default="scores."),
    )
)

ARMS = RecordKind(
    (
        Key(
            "shares",
            MapKind(NumberKind(0.0, 1.0, above=True)),
            "The planned share of units of each arm; the shares sum to 1.",
            default="{a: 0.5, b: 0.5}",
            required=True,
        ),
        Key(
            "unit",
            _SOURCE,
            "What is assigned to an arm, such as a user or a session: `context.NAME`.",
            default="each prediction",
        ),
        Key(
            "control",
            EventValueKind(),
            "The arm with which the others are compared.",
            default="the first arm",
        ),
        Key(
            "margins",
            MapKind(NumberKind(0.0, above=True)),
            "How much worse than the control an arm may be, by criterion: `accuracy`, `brier`, `log_loss` and `mae` in "
            "their own unit, `latency` as a ratio (0.1 is 10 % slower), `errors` as a share of failed predictions.",
            default="{}",
        ),
        Key(
            "worst_day",
            NumberKind(0.0, 1.0, above=True),
            "The largest share of a day's predictions that an arm could get wrong, if its harm is in few days.",
            default=number_scalar(_ARMS.worst_day),
        ),
        Key(
            "days",
            IntegerKind(28, 3650),
            "The smallest number of days with predictions in both arms before an arm is judged.",
            default=str(_ARMS.days),
        ),
    )
)

SHADOW = RecordKind(
    (
        Key(
            "candidate",
            EventValueKind(),
            "The candidate's version. Its predictions have the role `shadow`.",
            default='"4"',
            required=True,
        ),
        Key("of", EventValueKind(), "The version whose answers are used.", default='"3"', required=True),
        Key(
            "margins",
            MapKind(NumberKind(0.0, above=True)),
            "How much worse the candidate may be, by criterion ([criteria](#criteria-of-a-candidate)).",
            default="{accuracy: 0.005}",
            required=True,
        ),
        Key(
            "worst_day",
            NumberKind(0.0, 1.0, above=True),
            "The largest share of a day's pairs that the candidate could get wrong, if its harm is in few days.",
            default=number_scalar(_SHADOW.worst_day),
        ),
        Key(
            "days",
            IntegerKind(28, 3650),
            "The smallest number of days with pairs before the candidate is judged.",
            default=str(_SHADOW.days),
        ),
        Key(
            "copy",
            EventValueKind(),
            "The version of a second copy of the primary, with the role `shadow` too: its disagreements are the noise "
            "of the criterion `agreement`.",
            default="no copy",
        ),
        Key(
            "prices",
            MapKind(NumberKind(0.0)),
            "The price of one unit of each metric of events, for the criterion `cost`: `{input_tokens: 0.000003}`.",
            default="{}",
        ),
        Key(
            "candidate_prices",
            MapKind(NumberKind(0.0)),
            "The prices of the candidate.",
            default="those of `prices`",
        ),
        Key(
            "planned_days",
            IntegerKind(28, 3650),
            "The planned number of days with mature labels. `auc` is judged at a fifth of them, two fifths, and so on.",
            default=str(_SHADOW.planned_days),
        ),
    )
)

TEXT = RecordKind(
    (
        Key(
            "codebook",
            EventValueKind(),
            "The id of the codebook that assigns a topic to each prompt, from `barograph codebook train`. Its file is "
            "next to the contract, or is applied with `--codebook`.",
            default="no topics",
        ),
        Key(
            "languages",
            ListKind(NameKind("a code of ISO 639-1 such as en"), is_distinct=True),
            "The languages to expect, which decide doubtful texts; a text that is clearly in another one is `other`.",
            default="any language",
        ),
        Key(
            "content",
            ChoiceKind(("drop", "hash", "redact", "keep")),
            "What is published of the texts: nothing, keyed hashes (key in BAROGRAPH_PII_KEY), the texts with "
            "placeholders for personal data and secrets that have a form, or the texts as they are "
            "([content](llm.md#content)).",
            default=_TEXT.content,
        ),
        Key(
            "sample",
            NumberKind(0.0, 1.0),
            "With `redact` and `keep`: the share of generations whose text is published, selected by hash of the id.",
            default=number_scalar(_TEXT.sample),
        ),
    )
)

ROLLBACK = RecordKind(
    (
        Key(
            "prompt",
            NameKind("the name of a prompt"),
            "The prompt. The arms in `arms` are named `PROMPT@VERSION`.",
            default="answer",
            required=True,
        ),
        Key(
            "margins",
            MapKind(NumberKind(0.0)),
            "How much worse than the control an arm may be, by criterion ([criteria](#criteria-of-a-rollback)).",
            default="{errors: 0.005}",
            required=True,
        ),
        Key("label", NameKind("a label"), "The label that moves.", default=_ROLLBACK.label),
        Key(
            "to",
            EventValueKind(),
            "Where the label points afterwards: `previous` is the version that had the label before; or a version, or "
            "another label, such as `production`.",
            default=_ROLLBACK.to,
        ),
        Key(
            "mode",
            ChoiceKind(("propose", "act")),
            "`propose` raises the alert `prompt-harm` with the command to run; `act` also lets the guard act.",
            default=_ROLLBACK.mode,
        ),
        Key(
            "criteria",
            IntegerKind(0, 10**6),
            "How many criteria share the 5 % of false proposals; 0 for those of `margins`. Derived contracts have it.",
            default="0",
        ),
        Key(
            "events",
            IntegerKind(100, 10**9),
            "The smallest number of predictions of each arm before it is judged.",
            default=str(_ROLLBACK.events),
        ),
        Key(
            "units",
            IntegerKind(50, 10**9),
            "The smallest number of units of each arm, if `arms` has a `unit`.",
            default=str(_ROLLBACK.units),
        ),
    )
)

_FALLBACK = _CONTRACT.fallback

FALLBACK = RecordKind(
    (
        Key(
            "rules",
            ListKind(ChoiceKind(tuple(RULES)), is_distinct=True),
            "Alert rules that make the model degraded. Of rules with one instance per field, critical fields count.",
            default=flow_list(_FALLBACK.rules),
        ),
        Key(
            "hold",
            DurationKind(zero=True),
            "How long a rule must fire before the model is degraded, beyond the rule's own `for`.",
            default=duration_scalar(_FALLBACK.hold_s),
        ),
        Key(
            "recover",
            DurationKind(),
            "How long all rules must be quiet before the model is healthy again.",
            default=duration_scalar(_FALLBACK.recover_s),
        ),
        Key(
            "when_unknown",
            ChoiceKind(("keep", "degrade")),
            "What serving does while monitoring is blind: `keep` the last known decision, or use the fallback.",
            default=_FALLBACK.when_unknown,
        ),
    )
)

_PER_MILLION = NumberKind(0.0, 1e6)

PRICE = RecordKind(
    (
        Key(
            "version",
            EventValueKind(),
            "The versions that have this price; `*` matches any text, `?` one character.",
            default='"*"',
            required=True,
        ),
        Key("from", DayKind(), "The first day of the price, in UTC.", default="always"),
        Key("input", _PER_MILLION, "US dollars per million input tokens.", default=number_scalar(0.0)),
        Key("output", _PER_MILLION, "US dollars per million output tokens.", default=number_scalar(0.0)),
        Key("cached_input", _PER_MILLION, "The price of input tokens that were read from a cache.", default="input"),
        Key("cache_write", _PER_MILLION, "The price of input tokens that were written to a cache.", default="input"),
        Key("reasoning", _PER_MILLION, "The price of output tokens of reasoning.", default="output"),
    )
)

BUDGET = RecordKind(
    (
        Key("day", NumberKind(0.0, above=True), "US dollars per day of UTC.", default="no budget"),
        Key("month", NumberKind(0.0, above=True), "US dollars per month of UTC.", default="no budget"),
    )
)

DEPLOYMENT = RecordKind(
    (
        Key(
            "quantisation",
            ChoiceKind(("none", "AWQ", "GPTQ", "INT4", "INT8", "FP8", "FP16", "BF16")),
            "The number format of the weights.",
            default="not stated",
        ),
        Key(
            "speculative_decoding",
            TextKind(),
            "What drafts tokens, such as the name of a draft model, or `none`.",
            default="not stated",
        ),
        Key("continuous_batching", FlagKind(), "Whether requests join a running batch.", default="not stated"),
        Key("gpu", TextKind(), "The accelerators, such as `1 x L4`.", default="not stated"),
        Key("engine", TextKind(), "The inference server and its version.", default="not stated"),
        Key("notes", TextKind(), "Anything else that people should know.", default='""'),
    )
)

CONSUMER = RecordKind(
    (
        Key(
            "owner", NameKind(), "The people to ask before something changes for it.", default="pricing", required=True
        ),
        Key("group", TextKind(), "Its consumer group in Kafka.", default="none"),
        Key("user", TextKind(), "Its user in ClickHouse.", default="none"),
        Key("dashboard", TextKind(), "The uid of its dashboard in Grafana.", default="none"),
        Key("rule", TextKind(), "The uid of its alert rule in Grafana.", default="none"),
        Key("caller", TextKind(), "Its name in the requests for predictions, in `caller`'s member.", default="none"),
        Key("fields", ListKind(NameKind(), is_distinct=True), "The fields that it needs.", default="not stated"),
    )
)

SOURCE_SYSTEM = RecordKind(
    (
        Key("owner", NameKind(), "The people to ask if its features move.", default="nobody is known"),
        Key("system", TextKind(), "The system that runs it, such as a database or a scheduler.", default="not stated"),
        Key("code", TextKind(), "Where its code is: a repository and path, or a URL.", default="not stated"),
        Key("window", TextKind(), "The range of time that its features aggregate.", default="not stated"),
        Key("fields", ListKind(NameKind(), is_distinct=True), "The fields that it computes.", "[seats]", required=True),
    )
)

_PSI_THRESHOLD = NumberKind(0.0, 100.0, above=True)
_RATE_THRESHOLD = NumberKind(0.0, 1.0, above=True)

THRESHOLDS = RecordKind(
    (
        Key(
            "psi",
            RecordKind(
                (
                    Key("minor", _PSI_THRESHOLD, "PSI from which a verdict is minor.", number_scalar(_PSI.minor)),
                    Key("major", _PSI_THRESHOLD, "PSI from which a verdict is major.", number_scalar(_PSI.major)),
                    Key("clear", _PSI_THRESHOLD, "PSI below which a firing alert clears.", number_scalar(_PSI.clear)),
                )
            ),
            "The thresholds of PSI.",
            default=flow_map({key: number_scalar(getattr(_PSI, key)) for key in ("minor", "major", "clear")}),
        ),
        Key(
            "rates",
            RecordKind(
                (
                    Key("minor", _RATE_THRESHOLD, "Change from which a verdict is minor.", number_scalar(_RATES.minor)),
                    Key("major", _RATE_THRESHOLD, "Change from which a verdict is major.", number_scalar(_RATES.major)),
                )
            ),
            "The thresholds of a rate's change, as shares: 0.05 is five percentage points.",
            default=flow_map({key: number_scalar(getattr(_RATES, key)) for key in ("minor", "major")}),
        ),
    )
)

SLO = RecordKind(
    (
        Key("latency_ms", NumberKind(0.0, above=True), "The target latency, in milliseconds.", "no target"),
        Key(
            "latency_share",
            NumberKind(0.0, 1.0, above=True),
            "The share of predictions that must take at most `latency_ms`: 0.99 is the 99th percentile.",
            "no target",
        ),
        Key("error_rate", NumberKind(0.0, 1.0), "The share of predictions that may fail.", "no target"),
        Key(
            "performance",
            MapKind(NumberKind()),
            "Targets of metrics with mature labels: the smallest value, for error metrics the largest: `{auc: 0.7}`.",
            "no target",
        ),
        Key(
            "in_range",
            MapKind(NumberKind(0.0, 1.0, above=True)),
            "Numeric fields with the share of their values that must be within `range`: `{ttft_ms: 0.95}`.",
            "no target",
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
        Key("model", NameKind(), "The model's name, as in events.", default="flight-delay", required=True),
        Key("description", TextKind(), "What the model decides, as text for readers.", default='""'),
        Key("team", TextKind(), "The team that runs the model.", default='""'),
        Key("owners", ListKind(NameKind(), is_distinct=True), "The people who may change the contract.", default="[]"),
        Key("route", TextKind(), "The destination of the model's alerts: a route or contact point.", default='""'),
        Key(
            "timezone",
            NameKind("a time zone such as Europe/Berlin"),
            "The time zone of the model's users; `season` uses it.",
            default=_CONTRACT.timezone,
        ),
        Key(
            "pane",
            DurationKind(),
            "The length of a pane: a divisor or a multiple of one hour.",
            default=duration_scalar(_CONTRACT.pane_s),
        ),
        Key(
            "lateness",
            DurationKind(zero=True),
            "How far the watermark must pass a pane's end before the pane is sealed.",
            default=duration_scalar(_CONTRACT.lateness_s),
        ),
        Key(
            "out_of_order",
            DurationKind(zero=True),
            "How far event times may lag behind the newest event time; the watermark lags by this much.",
            default=duration_scalar(_CONTRACT.out_of_order_s),
        ),
        Key(
            "windows",
            ListKind(WINDOW, min_items=1),
            "The rolling windows that get verdicts.",
            default=flow_list(
                flow_map({"length": duration_scalar(window.length_s), "hop": duration_scalar(window.hop_s)})
                for window in _CONTRACT.windows
            ),
        ),
        Key(
            "raw",
            RawShareKind(),
            "Which raw events are stored: `all`, `none`, or a share selected by hash of the prediction id.",
            default="all",
        ),
        Key("fields", MapKind(FIELD), "The monitored fields, by name.", default="{}"),
        Key(
            "slices",
            SlicesKind(),
            "The dimensions by which predictions are divided into slices `NAME=value`: a map, or a list of names.",
            default="[]",
        ),
        Key(
            "slice_min_n",
            IntegerKind(0, 10**12),
            "A slice gets verdicts only in windows with at least this many of its events.",
            default=str(_CONTRACT.slice_min_n),
        ),
        Key(
            "season",
            ChoiceKind(("none", "hour_of_week")),
            "`hour_of_week` compares windows with the training data of the same hours of the week, in `timezone`.",
            default=_CONTRACT.season,
        ),
        Key("label", LABEL, "The ground truth, which arrives after the prediction.", default="no labels"),
        Key(
            "arms",
            ARMS,
            "The arms of an A/B test, the units that are assigned to them, and how an arm is judged.",
            default="no test",
        ),
        Key(
            "shadow",
            SHADOW,
            "A candidate version that answers the same requests as the primary.",
            default="no candidate",
        ),
        Key(
            "text",
            TEXT,
            "What events contain of the prompts and answers of a language model ([text](llm.md#text)).",
            default="only lengths",
        ),
        Key(
            "rollback",
            ROLLBACK,
            "When a version of a prompt is rolled back, if its arm is worse than the control.",
            default="never",
        ),
        Key("serving", EventValueKind(), "The version whose answers are used.", default="not stated"),
        Key(
            "promotion",
            ChoiceKind(("open", "required")),
            "`required`: `barograph apply` changes `serving` only with evidence for the new version.",
            default=_CONTRACT.promotion,
        ),
        Key(
            "suites",
            ListKind(NameKind(), is_distinct=True),
            "Evaluation suites in which a version must be accepted before `barograph apply` sets `serving` to it.",
            default="[]",
        ),
        Key(
            "fallback",
            FALLBACK,
            "When serving uses the fallback of the model, and when the model again.",
            default="the rules on drift of critical fields, errors and performance",
        ),
        Key(
            "prices",
            ListKind(PRICE),
            "What tokens of a language model cost, for calls whose cost is not observed ([cost](llm.md#cost)).",
            default="[]",
        ),
        Key("budget", BUDGET, "What the model may cost, in US dollars ([budgets](llm.md#budgets)).", default="none"),
        Key(
            "user",
            _SOURCE,
            "The member of events that names the user, for costs by user: `context.NAME`.",
            default="no costs by user",
        ),
        Key(
            "caller",
            _SOURCE,
            "The member of events that names the program that requests predictions: `context.NAME`.",
            default="callers are unknown",
        ),
        Key(
            "consumers",
            MapKind(CONSUMER),
            "Who reads the model's topics, tables and dashboards, by name ([consumers](consumers.md)).",
            default="none declared",
        ),
        Key(
            "sources",
            MapKind(SOURCE_SYSTEM),
            "The upstream systems and jobs that compute the fields, by name ([sources](changes.md#sources)).",
            default="none declared",
        ),
        Key(
            "deployments",
            MapKind(DEPLOYMENT),
            "How versions are served, for people and SQL, by version ([deployments](llm.md#deployments)).",
            default="{}",
        ),
        Key(
            "evaluators",
            MapKind(EVALUATOR),
            "The checks and judges of a language model's answers, by name ([evaluation](evaluation.md)).",
            default="{}",
        ),
        Key(
            "thresholds",
            THRESHOLDS,
            "The thresholds of `minor` and `major` verdicts.",
            default="those of psi and rates",
        ),
        Key("slo", SLO, "The model's service level objectives.", default="no targets"),
        Key("alerts", ALERTS, "Changes to the default alert rules.", default="{}"),
        Key(
            "columns",
            COLUMNS,
            "Columns of the model's tables whose names differ from the members of events, from the options of `infer`.",
            default="the names of members",
        ),
        Key(
            "ignored",
            MapKind(TextKind()),
            "Known features that are not monitored, each with the reason.",
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
