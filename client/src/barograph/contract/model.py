"""The contract of one model: the content of its events, how they are monitored, and who is notified.

One YAML file per model is the single specification for training, serving, topics, tables, dashboards and alerts. This
module defines the immutable objects and, by their annotations (`barograph.contract.sections`), the keys of the file;
`barograph.contract.file` reads it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Annotated, ClassVar, Literal

import msgspec

from barograph.contract.alerts import RULES, Alerts
from barograph.contract.evaluators import Evaluator
from barograph.contract.kinds import (
    SECONDS_PER_DAY,
    SECONDS_PER_HOUR,
    ChoiceKind,
    Diagnostics,
    EventValueKind,
    IntegerKind,
    ListKind,
    NameKind,
    NumberKind,
    Path,
    Unreadable,
    format_duration,
)
from barograph.contract.problems import quoted
from barograph.contract.sections import (
    FOR_NUMBERS,
    SHOWN,
    At,
    Duration,
    DurationOrZero,
    EventValue,
    Group,
    Name,
    NamedKind,
    Positive,
    PositiveShare,
    Prose,
    SectionKind,
    Share,
    Source,
    default_of,
)
from barograph.contract.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode
from barograph.contract.yaml_text import flow_list, number_scalar

FieldType = Literal["float", "int", "bool", "category", "timestamp"]
"""Types of fields. `timestamp` values are monitored as their age: event time minus value, in seconds."""

NUMERIC_TYPES: tuple[FieldType, ...] = ("float", "int", "timestamp")
"""Types whose values are monitored as numbers."""

SketchKind = Literal["kll", "req"]
PhiChoice = Literal["estimate", "upper"]

CONFIDENCE = "confidence"
"""The source that is not a member of an event: the largest of `scores`."""

PREVIOUS = "previous"
"""Target of a rollback: the version that had the label before."""

CROSS = " * "
"""Joins the sources and the values of a crossed slice: `origin * carrier=JFK * AA`."""

CONSUMER_KINDS = ("group", "user", "dashboard", "rule", "caller")
"""Members of a consumer that say how it reads; each has exactly one."""


class RawShareKind(msgspec.Struct, frozen=True):
    """The share of raw events that is stored: `all`, `none` or `{share: 0.1}`."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> float:
        if isinstance(node, ScalarNode) and node.text in ("all", "none"):
            return 1.0 if node.text == "all" else 0.0
        if not isinstance(node, MappingNode):
            raise Unreadable("write all, none or {share: 0.1}")
        part: RawPart = SectionKind(RawPart).read(node, path, diagnostics)
        return part.share

    def write(self, share: float) -> str:
        return {0.0: "none", 1.0: "all"}.get(share) or SectionKind(RawPart).write(RawPart(share))


class RawPart(msgspec.Struct, frozen=True):
    """Part of the raw events."""

    share: Annotated[Share, "The share that is stored.", "0.1"]


class RangeKind(msgspec.Struct, frozen=True):
    """A pair of limits, each of which may be null."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> dict[str, float | None]:
        if not isinstance(node, SequenceNode) or len(node.items) != 2:
            raise Unreadable("write two limits: [0, 100], or [0, null] if one side is open")
        low, high = (
            None
            if isinstance(item, ScalarNode) and item.is_null
            else NumberKind().read(item, (*path, position), diagnostics)
            for position, item in enumerate(node.items)
        )
        return {"low": low, "high": high}

    def write(self, limits: Mapping[str, float]) -> str:
        return flow_list(number_scalar(limits.get(side)) for side in ("low", "high"))


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


class PositiveClassKind(msgspec.Struct, frozen=True):
    """The class that the score is the probability of: true or false without quotes, or text."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> str | bool:
        if isinstance(node, ScalarNode) and node.is_plain and node.text in ("true", "false"):
            return node.text == "true"
        return EventValueKind().read(node, path, diagnostics)


class Window(msgspec.Struct, frozen=True, order=True):
    """A rolling window of panes: half-open [start, end); ends are multiples of the hop since the Unix epoch."""

    length_s: Annotated[
        Duration, "The window's length, a multiple of its hop and of the pane; with `last` the longest span.", "15m"
    ]
    hop_s: Annotated[Duration, "The time between the ends of two windows, a multiple of the pane.", "1m"]
    last: Annotated[
        int,
        IntegerKind(1, 10**9),
        "The window consists of the fewest most recent panes with at least so many predictions of the model.",
        "all panes of the length",
    ] = 0

    @property
    def name(self) -> str:
        """The length as people write it: `15m`, `1h`, `1d`, `7d`; or `last 2000`."""
        return f"last {self.last}" if self.last else format_duration(self.length_s)


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One monitored value of predictions: a feature, the score, the class, latency or a metric."""

    GROUPS: ClassVar = {
        "range": Group(
            "The smallest and the largest valid value. Smaller values count as `below`, larger ones as `above`. `null` "
            "means no limit on that side. For numbers, and for timestamps, whose range is of the age in seconds.",
            "[null, null]",
            RangeKind(),
        )
    }

    name: str
    type: Annotated[
        FieldType,
        "The type of the values. `float` and `int` are numbers, `bool` is true or false, `category` is text. "
        "`timestamp` is Unix time in milliseconds or RFC 3339 text; its age is monitored (event time minus value, in "
        "seconds).",
        "float",
    ]
    source: Annotated[
        Source,
        At("from"),
        "The value's source in an event: `features.NAME`, `context.NAME`, `metrics.NAME`, `scores.CLASS`, `score`, "
        "`class`, `latency_ms`, or `confidence`, which is the largest of `scores`.",
        "features.NAME; for the fields score, class and latency_ms the member of the event with that name",
    ] = ""
    low: Annotated[float | None, NumberKind(), At(group="range"), "The smallest valid value."] = None
    high: Annotated[float | None, NumberKind(), At(group="range"), "The largest valid value."] = None
    critical: Annotated[bool, "Whether a major verdict on the field pages; if not, it creates a ticket."] = False
    nulls: Annotated[Literal["allow", "refuse"], "`allow` if nulls are part of normal traffic, otherwise `refuse`."] = (
        "allow"
    )
    weight: Annotated[
        float,
        NumberKind(0.0, 1000.0, above=True),
        "The field's weight in the control of the false discovery rate across fields (`q_value`).",
    ] = 1.0
    unit: Annotated[Prose, "The unit, for the axes of charts: `°F`, `ms`, `EUR`."] = ""
    description: Annotated[Prose, "What the field means, as text for readers."] = ""
    sketch: Annotated[
        SketchKind, FOR_NUMBERS, "`req` if the tail matters (latency, token counts), otherwise `kll`."
    ] = "kll"
    pii: Annotated[
        Literal["keep", "hash", "drop", "truncate"],
        "What the publisher does before a value leaves the process: `hash` publishes a keyed hash (HMAC-SHA-256 per "
        "model and field, key in BAROGRAPH_PII_KEY), `truncate` publishes the first half of the characters, at most "
        "3, `drop` does not publish the value, `keep` publishes it unchanged.",
    ] = "keep"
    policy: Annotated[
        Literal["flag", "reject"],
        "What `Publisher.validate` does with a value that violates the contract: `flag` counts it, `reject` raises "
        "an error before the model is called.",
    ] = "flag"


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """A dimension that divides predictions into slices named `NAME=value`."""

    name: str
    source: Annotated[
        Source,
        At("from"),
        "The source of the values: `features.NAME`, `context.NAME` or `arm`. Sources joined by ` * ` are crossed: "
        "`features.origin * features.carrier` creates a slice per pair of values, such as `JFK * AA`.",
        "the source of the field with the dimension's name; arm for the dimension arm; else context.NAME",
    ] = ""
    top: Annotated[
        int,
        IntegerKind(1, 1000),
        "How many values get a slice of their own: the most frequent in training. All others are in `NAME=other`.",
    ] = 20
    values: Annotated[
        tuple[str, ...],
        ListKind(EventValueKind(), 1, is_distinct=True),
        "The values that get a slice, if training data does not contain this dimension (arms, request context).",
    ] = ()
    sketches: Annotated[
        tuple[Annotated[str, NameKind("the name of a numeric field")], ...],
        "Numeric fields whose quantiles and moments are also stored per slice; counts are always stored.",
    ] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """The crossed sources; a single one if nothing is crossed."""
        return tuple(self.source.split(CROSS))


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """The thresholds of PSI and the value below which a firing alert clears."""

    minor: Annotated[float, NumberKind(0.0, 100.0, above=True), "PSI from which a verdict is minor.", SHOWN] = 0.1
    major: Annotated[float, NumberKind(0.0, 100.0, above=True), "PSI from which a verdict is major.", SHOWN] = 0.2
    clear: Annotated[float, NumberKind(0.0, 100.0, above=True), "PSI below which a firing alert clears.", SHOWN] = 0.15


class RateThresholds(msgspec.Struct, frozen=True, kw_only=True):
    """The thresholds of a rate's change, as shares (0.05 is five percentage points)."""

    minor: Annotated[PositiveShare, "Change from which a verdict is minor.", SHOWN] = 0.01
    major: Annotated[PositiveShare, "Change from which a verdict is major.", SHOWN] = 0.05


class LabelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The labels of a model: the ground truth that arrives later."""

    type: Annotated[Literal["bool", "category", "float"], "The type of labels.", "bool"]
    positive: Annotated[
        str | bool | None,
        PositiveClassKind(),
        "For binary models, the class whose probability is the score: `true`, `false` or the name of a class.",
        "no positive class",
    ] = None
    negative: Annotated[
        EventValue | None,
        "For labels of the type bool, the name of the other class, if labels or predictions contain it.",
        "no name",
    ] = None
    threshold: Annotated[
        Share,
        "For binary models: the smallest score that predicts the positive class, for events without `class`, and for "
        "estimates without labels. `infer` learns it from the class column.",
    ] = 0.5
    classes: Annotated[
        tuple[str, ...],
        ListKind(EventValueKind(), 2, is_distinct=True),
        "For models with more than two classes: all classes. Their probabilities are in `scores`.",
    ] = ()
    horizon_s: Annotated[
        Duration,
        "Labels that arrive later than this after their prediction are counted, but do not change performance.",
    ] = 30 * SECONDS_PER_DAY
    mature: Annotated[
        PositiveShare,
        "A window is mature when this share of its expected labels has arrived, by the learned maturity curve.",
    ] = 0.95


class Arms(msgspec.Struct, frozen=True, kw_only=True):
    """How requests are assigned to the arms of an A/B test, and how an arm is judged."""

    shares: Annotated[
        dict[str, PositiveShare], "The planned share of units of each arm; the shares sum to 1.", "{a: 0.5, b: 0.5}"
    ]
    unit: Annotated[
        Source, "What is assigned to an arm, such as a user or a session: `context.NAME`.", "each prediction"
    ] = ""
    control: Annotated[EventValue, "The arm with which the others are compared.", "the first arm"] = ""
    margins: Annotated[
        dict[str, Positive],
        "How much worse than the control an arm may be, by criterion: `accuracy`, `brier`, `log_loss` and `mae` in "
        "their own unit, `latency` as a ratio (0.1 is 10 % slower), `errors` as a share of failed predictions.",
    ] = {}
    worst_day: Annotated[
        PositiveShare,
        "The largest share of a day's predictions that an arm could get wrong, if its harm is in few days.",
    ] = 0.1
    days: Annotated[
        int, IntegerKind(28, 3650), "The smallest number of days with predictions in both arms before an arm is judged."
    ] = 28

    @property
    def names(self) -> tuple[str, ...]:
        """The arms, the control first."""
        control = self.control or next(iter(self.shares), "")
        return (control, *(arm for arm in self.shares if arm != control))


class ShadowTest(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate version that answers the same requests as the primary."""

    candidate: Annotated[EventValue, "The candidate's version. Its predictions have the role `shadow`.", '"4"']
    of: Annotated[EventValue, "The version whose answers are used.", '"3"']
    margins: Annotated[
        dict[str, Positive],
        "How much worse the candidate may be, by criterion ([criteria](#criteria-of-a-candidate)).",
        "{accuracy: 0.005}",
    ]
    worst_day: Annotated[
        PositiveShare,
        "The largest share of a day's pairs that the candidate could get wrong, if its harm is in few days.",
    ] = 0.1
    days: Annotated[
        int, IntegerKind(28, 3650), "The smallest number of days with pairs before the candidate is judged."
    ] = 28
    copy: Annotated[
        EventValue,
        "The version of a second copy of the primary, with the role `shadow` too: its disagreements are the noise of "
        "the criterion `agreement`.",
        "no copy",
    ] = ""
    prices: Annotated[
        dict[str, Annotated[float, NumberKind(0.0)]],
        "The price of one unit of each metric of events, for the criterion `cost`: `{input_tokens: 0.000003}`.",
    ] = {}
    candidate_prices: Annotated[
        dict[str, Annotated[float, NumberKind(0.0)]], "The prices of the candidate.", "those of `prices`"
    ] = {}
    planned_days: Annotated[
        int,
        IntegerKind(28, 3650),
        "The planned number of days with mature labels. `auc` is judged at a fifth of them, two fifths, and so on.",
    ] = 140


class Rollback(msgspec.Struct, frozen=True, kw_only=True):
    """When a version of a prompt, served as an arm, is rolled back."""

    prompt: Annotated[
        str, NameKind("the name of a prompt"), "The prompt. The arms in `arms` are named `PROMPT@VERSION`.", "answer"
    ]
    margins: Annotated[
        dict[str, Annotated[float, NumberKind(0.0)]],
        "How much worse than the control an arm may be, by criterion ([criteria](#criteria-of-a-rollback)).",
        "{errors: 0.005}",
    ]
    label: Annotated[str, NameKind("a label"), "The label that moves."] = "production"
    to: Annotated[
        EventValue,
        "Where the label points afterwards: `previous` is the version that had the label before; or a version, or "
        "another label, such as `production`.",
    ] = PREVIOUS
    mode: Annotated[
        Literal["propose", "act"],
        "`propose` raises the alert `prompt-harm` with the command to run; `act` also lets the guard act.",
    ] = "propose"
    criteria: Annotated[
        int,
        IntegerKind(0, 10**6),
        "How many criteria share the 5 % of false proposals; 0 for those of `margins`. Derived contracts have it.",
    ] = 0
    events: Annotated[
        int, IntegerKind(100, 10**9), "The smallest number of predictions of each arm before it is judged."
    ] = 200
    units: Annotated[
        int, IntegerKind(50, 10**9), "The smallest number of units of each arm, if `arms` has a `unit`."
    ] = 100


class TokenPrice(msgspec.Struct, frozen=True, kw_only=True):
    """What the tokens of versions of a language model cost, in US dollars per million."""

    version: Annotated[EventValue, "The versions that have this price; `*` matches any text, `?` one character.", '"*"']
    since: Annotated[str, At("from"), DayKind(), "The first day of the price, in UTC.", "always"] = ""
    input: Annotated[float, NumberKind(0.0, 1e6), "US dollars per million input tokens."] = 0.0
    output: Annotated[float, NumberKind(0.0, 1e6), "US dollars per million output tokens."] = 0.0
    cached_input: Annotated[
        float | None, NumberKind(0.0, 1e6), "The price of input tokens that were read from a cache.", "input"
    ] = None
    cache_write: Annotated[
        float | None, NumberKind(0.0, 1e6), "The price of input tokens that were written to a cache.", "input"
    ] = None
    reasoning: Annotated[float | None, NumberKind(0.0, 1e6), "The price of output tokens of reasoning.", "output"] = (
        None
    )
    input_audio: Annotated[float | None, NumberKind(0.0, 1e6), "The price of input tokens of audio.", "not known"] = (
        None
    )
    output_audio: Annotated[float | None, NumberKind(0.0, 1e6), "The price of output tokens of audio.", "not known"] = (
        None
    )
    tiers: Annotated[
        dict[str, Positive], "Factors of these prices for calls of other service tiers: `{batch: 0.5}`.", "not known"
    ] = {}


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What a model may cost, in US dollars; days and months are those of UTC."""

    day: Annotated[Positive | None, "US dollars per day of UTC.", "no budget"] = None
    month: Annotated[Positive | None, "US dollars per month of UTC.", "no budget"] = None


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """How a version is served, for people who compare versions."""

    quantisation: Annotated[
        Literal["", "none", "AWQ", "GPTQ", "INT4", "INT8", "FP8", "FP16", "BF16"],
        "The number format of the weights.",
        "not stated",
    ] = ""
    speculative_decoding: Annotated[
        Prose, "What drafts tokens, such as the name of a draft model, or `none`.", "not stated"
    ] = ""
    continuous_batching: Annotated[bool | None, "Whether requests join a running batch.", "not stated"] = None
    gpu: Annotated[Prose, "The accelerators, such as `1 x L4`.", "not stated"] = ""
    engine: Annotated[Prose, "The inference server and its version.", "not stated"] = ""
    notes: Annotated[Prose, "Anything else that people should know."] = ""


class Fallback(msgspec.Struct, frozen=True, kw_only=True):
    """When serving should use the fallback of a model, and when the model again."""

    rules: Annotated[
        tuple[Annotated[str, ChoiceKind(tuple(RULES))], ...],
        "Alert rules that make the model degraded. Of rules with one instance per field, critical fields count.",
    ] = (*("psi-major", "null-rate", "invalid-rate", "unseen-rate", "range-rate"), *("errors", "performance"))
    hold_s: Annotated[
        DurationOrZero, "How long a rule must fire before the model is degraded, beyond the rule's own `for`."
    ] = 0
    recover_s: Annotated[Duration, "How long all rules must be quiet before the model is healthy again."] = 900
    when_unknown: Annotated[
        Literal["keep", "degrade"],
        "What serving does while monitoring is blind: `keep` the last known decision, or use the fallback.",
    ] = "keep"


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """What events contain of the prompts and answers of a language model."""

    codebook: Annotated[
        EventValue,
        "The id of the codebook that assigns a topic to each prompt, from `barograph codebook train`. Its file is "
        "next to the contract, or is applied with `--codebook`.",
        "no topics",
    ] = ""
    languages: Annotated[
        tuple[Annotated[str, NameKind("a code of ISO 639-1 such as en")], ...],
        "The languages to expect, which decide doubtful texts; a text that is clearly in another one is `other`.",
        "any language",
    ] = ()
    content: Annotated[
        Literal["drop", "hash", "redact", "keep"],
        "What is published of the texts: nothing, keyed hashes (key in BAROGRAPH_PII_KEY), the texts with "
        "placeholders for personal data and secrets that have a form, or the texts as they are "
        "([content](llm.md#content)).",
    ] = "drop"
    sample: Annotated[
        Share, "With `redact` and `keep`: the share of generations whose text is published, selected by hash of the id."
    ] = 0.0


class Slo(msgspec.Struct, frozen=True, kw_only=True):
    """The model's service level objectives."""

    latency_ms: Annotated[Positive | None, "The target latency, in milliseconds.", "no target"] = None
    latency_share: Annotated[
        PositiveShare | None,
        "The share of predictions that must take at most `latency_ms`: 0.99 is the 99th percentile.",
        "no target",
    ] = None
    error_rate: Annotated[Share | None, "The share of predictions that may fail.", "no target"] = None
    performance: Annotated[
        dict[str, Annotated[float, NumberKind()]],
        "Targets of metrics with mature labels: the smallest value, for error metrics the largest: `{auc: 0.7}`.",
        "no target",
    ] = {}
    in_range: Annotated[
        dict[str, PositiveShare],
        "Numeric fields with the share of their values that must be within `range`: `{ttft_ms: 0.95}`.",
        "no target",
    ] = {}


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """Columns of the model's tables whose names differ from the members of events; empty: the member's name."""

    id: Annotated[Name, "The column of prediction ids.", "id"] = ""
    time: Annotated[Name, "The column of event times.", "at"] = ""
    score: Annotated[Name, "The column of the score.", "score"] = ""
    class_: Annotated[Name, "The column of the predicted class.", "class"] = ""
    label: Annotated[Name, "The column of labels.", "label"] = ""
    latency: Annotated[Name, "The column of the latency in milliseconds.", "latency_ms"] = ""
    scores: Annotated[Name, "The prefix of the columns of class probabilities.", "scores."] = ""


class DeclaredConsumer(msgspec.Struct, frozen=True, kw_only=True):
    """One reader of a model's topics or tables, or caller of the model."""

    owner: Annotated[Name, "The people to ask before something changes for it.", "pricing"]
    group: Annotated[Prose, "Its consumer group in Kafka.", "none"] = ""
    user: Annotated[Prose, "Its user in ClickHouse.", "none"] = ""
    dashboard: Annotated[Prose, "The uid of its dashboard in Grafana.", "none"] = ""
    rule: Annotated[Prose, "The uid of its alert rule in Grafana.", "none"] = ""
    caller: Annotated[Prose, "Its name in the requests for predictions, in `caller`'s member.", "none"] = ""
    fields: Annotated[tuple[Name, ...], "The fields that it needs.", "not stated"] = ()

    @property
    def kind(self) -> str:
        """How it reads: one of `CONSUMER_KINDS`."""
        return next(kind for kind in CONSUMER_KINDS if getattr(self, kind))

    @property
    def reader(self) -> str:
        """The name of the group, user, dashboard, rule or caller."""
        return str(getattr(self, self.kind))


class DeclaredSource(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream system or job that computes features of a model."""

    owner: Annotated[Name, "The people to ask if its features move.", "nobody is known"] = ""
    system: Annotated[Prose, "The system that runs it, such as a database or a scheduler.", "not stated"] = ""
    code: Annotated[Prose, "Where its code is: a repository and path, or a URL.", "not stated"] = ""
    window: Annotated[Prose, "The range of time that its features aggregate.", "not stated"] = ""
    fields: Annotated[tuple[Name, ...], "The fields that it computes.", "[seats]"]


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """Everything Barograph needs to know about one model."""

    GROUPS: ClassVar = {
        "thresholds": Group("The thresholds of `minor` and `major` verdicts.", "those of psi and rates")
    }

    model: Annotated[Name, "The model's name, as in events.", "flight-delay"]
    description: Annotated[Prose, "What the model decides, as text for readers."] = ""
    team: Annotated[Prose, "The team that runs the model."] = ""
    owners: Annotated[tuple[Name, ...], "The people who may change the contract."] = ()
    route: Annotated[Prose, "The destination of the model's alerts: a route or contact point."] = ""
    timezone: Annotated[
        str,
        NameKind("a time zone such as Europe/Berlin"),
        "The time zone of the model's users; `season` uses it.",
        SHOWN,
    ] = "UTC"
    pane_s: Annotated[Duration, "The length of a pane: a divisor or a multiple of one hour.", SHOWN] = 60
    lateness_s: Annotated[
        DurationOrZero, "How far the watermark must pass a pane's end before the pane is sealed.", SHOWN
    ] = 120
    out_of_order_s: Annotated[
        DurationOrZero,
        "How far event times may lag behind the newest event time; the watermark lags by this much.",
        SHOWN,
    ] = 60
    windows: Annotated[
        tuple[Window, ...], ListKind(SectionKind(Window), 1), "The rolling windows that get verdicts.", SHOWN
    ] = (Window(900, 60), Window(SECONDS_PER_HOUR, 300), Window(SECONDS_PER_DAY, SECONDS_PER_HOUR))
    raw_share: Annotated[
        float,
        At("raw"),
        RawShareKind(),
        "Which raw events are stored: `all`, `none`, or a share selected by hash of the prediction id.",
        SHOWN,
    ] = 1.0
    fields: Annotated[tuple[Field, ...], NamedKind(Field), "The monitored fields, by name.", "{}"] = ()
    slices: Annotated[
        tuple[Slice, ...],
        NamedKind(Slice, short=True),
        "The dimensions by which predictions are divided into slices `NAME=value`: a map, or a list of names.",
        "[]",
    ] = ()
    slice_min_n: Annotated[
        int,
        IntegerKind(0, 10**12),
        "A slice gets verdicts only in windows with at least this many of its events.",
        SHOWN,
    ] = 500
    season: Annotated[
        Literal["none", "hour_of_week"],
        "`hour_of_week` compares windows with the training data of the same hours of the week, in `timezone`.",
    ] = "none"
    phi: Annotated[
        PhiChoice,
        "φ of drift verdicts: the estimate, or its upper 95 % limit, which needs more data and alarms falsely in fewer "
        "windows if training had few of their length.",
    ] = "estimate"
    label: Annotated[LabelSpec | None, "The ground truth, which arrives after the prediction.", "no labels"] = None
    arms: Annotated[
        Arms | None,
        "The arms of an A/B test, the units that are assigned to them, and how an arm is judged.",
        "no test",
    ] = None
    shadow: Annotated[
        ShadowTest | None, "A candidate version that answers the same requests as the primary.", "no candidate"
    ] = None
    text: Annotated[
        Text | None,
        "What events contain of the prompts and answers of a language model ([text](llm.md#text)).",
        "only lengths",
    ] = None
    rollback: Annotated[
        Rollback | None, "When a version of a prompt is rolled back, if its arm is worse than the control.", "never"
    ] = None
    serving: Annotated[EventValue, "The version whose answers are used.", "not stated"] = ""
    promotion: Annotated[
        Literal["open", "required"],
        "`required`: `barograph apply` changes `serving` only with evidence for the new version.",
    ] = "open"
    suites: Annotated[
        tuple[Name, ...],
        "Evaluation suites in which a version must be accepted before `barograph apply` sets `serving` to it.",
    ] = ()
    fallback: Annotated[
        Fallback,
        "When serving uses the fallback of the model, and when the model again.",
        "the rules on drift of critical fields, errors and performance",
    ] = Fallback()
    prices: Annotated[
        tuple[TokenPrice, ...],
        "What tokens of a language model cost, for calls whose cost is not observed ([cost](llm.md#cost)).",
    ] = ()
    budget: Annotated[Budget, "What the model may cost, in US dollars ([budgets](llm.md#budgets)).", "none"] = Budget()
    user: Annotated[
        Source, "The member of events that names the user, for costs by user: `context.NAME`.", "no costs by user"
    ] = ""
    caller: Annotated[
        Source,
        "The member of events that names the program that requests predictions: `context.NAME`.",
        "callers are unknown",
    ] = ""
    trace_url: Annotated[
        Prose,
        "The address of a trace where traces are kept, with `{trace_id}`: links of calls ([calls](llm.md#calls)).",
        "no links",
    ] = ""
    consumers: Annotated[
        dict[str, DeclaredConsumer],
        "Who reads the model's topics, tables and dashboards, by name ([consumers](consumers.md)).",
        "none declared",
    ] = {}
    declared_sources: Annotated[
        dict[str, DeclaredSource],
        At("sources"),
        "The upstream systems and jobs that compute the fields, by name ([sources](changes.md#sources)).",
        "none declared",
    ] = {}
    deployments: Annotated[
        dict[str, Deployment],
        "How versions are served, for people and SQL, by version ([deployments](llm.md#deployments)).",
    ] = {}
    evaluators: Annotated[
        dict[str, Evaluator],
        "The checks and judges of a language model's answers, by name ([evaluation](evaluation.md)).",
    ] = {}
    thresholds: Annotated[Thresholds, At("psi", "thresholds"), "The thresholds of PSI.", SHOWN] = Thresholds()
    rate_thresholds: Annotated[
        RateThresholds,
        At("rates", "thresholds"),
        "The thresholds of a rate's change, as shares: 0.05 is five percentage points.",
        SHOWN,
    ] = RateThresholds()
    slo: Annotated[Slo, "The model's service level objectives.", "no targets"] = Slo()
    alerts: Annotated[Alerts, "Changes to the default alert rules.", "{}"] = Alerts()
    columns: Annotated[
        Columns,
        "Columns of the model's tables whose names differ from the members of events, from the options of `infer`.",
        "the names of members",
    ] = Columns()
    ignored: Annotated[dict[str, Prose], "Known features that are not monitored, each with the reason."] = {}

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

    Members at their defaults are not part of it, so that a new member changes no id. Equal integers and floats have
    the same hash.
    """
    return hashlib.sha256(msgspec.json.encode(_content(value))).hexdigest()[:16]


def _content(value: object) -> object:
    """The content to hash: maps in the order of their keys, structs in the order of their members."""
    if isinstance(value, msgspec.Struct):
        members = {name: (getattr(value, name), default) for name, default in _defaults(type(value)).items()}
        return {
            name: own + 0.0 if type(own) in (int, float) else _content(own)
            for name, (own, default) in members.items()
            if own != default
        }
    if isinstance(value, dict):
        return {key: _content(value[key]) for key in sorted(value)}
    # Check types instead of items: a baseline has a thousand quantiles per field.
    if isinstance(value, tuple) and any(issubclass(kind, _NESTED) for kind in set(map(type, value))):
        return [_content(item) for item in value]
    return value


_NESTED = (msgspec.Struct, dict, tuple)


@cache
def _defaults(kind: type[msgspec.Struct]) -> dict[str, object]:
    return {member.name: default_of(member) for member in msgspec.structs.fields(kind)}
