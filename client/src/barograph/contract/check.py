"""Consistency checks of a contract, whether it comes from a file or from code."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable, Iterator, Mapping

import msgspec

from barograph.contract import (
    CONFIDENCE,
    CONSUMER_KINDS,
    CROSS,
    NUMERIC_TYPES,
    SECONDS_PER_HOUR,
    Contract,
    Field,
    LabelSpec,
    ShadowTest,
    Slice,
    format_duration,
)
from barograph.contract.check_alerts import alert_check_failures
from barograph.contract.check_evaluators import evaluator_failures
from barograph.contract.kinds import Path, describe_path, name_fault
from barograph.contract.label_values import flag_value, positive_value
from barograph.contract.problems import ContractError, Problem, quoted
from barograph.contract.sections import keys_of, written
from barograph.events import CONTEXT, FEATURES, MAPS, METRICS, SCORES

TEXT_SOURCES = (f"{CONTEXT}.prompt_text", f"{CONTEXT}.answer_text")
"""Members of events that hold text of people: no field or slice may read them."""
_CODEBOOK_ID = re.compile(r"[0-9a-f]{16}")
_CONTEXT_PREFIX = f"{CONTEXT}."

OUTPUT_TYPES = {"score": ("float", "int"), "class": ("category",), "latency_ms": ("float", "int")}
"""The outputs of every model: a field of this name reads the member of the same name, as one of these types."""

MAX_SEARCHED_PANES = 10_000
"""Maximum number of panes in the longest span of a window with `last`: they are searched for its start at every hop."""

PERFORMANCE_METRICS = {
    "binary": ("accuracy", "precision", "recall", "f1", "auc", "log_loss", "brier", "calibration_error"),
    "classes": (
        *("accuracy", "precision_macro", "recall_macro", "f1_macro", "precision_micro", "recall_micro", "f1_micro"),
        *("auc_macro", "log_loss", "brier", "calibration_error"),
    ),
    "number": ("mae", "rmse", "bias"),
}
"""Performance metrics per kind of model, as returned by `label_kind`."""

SHADOW_CRITERIA = {
    "binary": ("accuracy", "brier", "log_loss", "auc"),
    "classes": ("accuracy", "brier", "log_loss"),
    "number": ("mae",),
}
"""Criteria of a candidate that need labels, per kind of model."""
ARM_CRITERIA = {
    "binary": ("accuracy", "brier", "log_loss"),
    "classes": ("accuracy", "brier", "log_loss"),
    "number": ("mae",),
}
"""Criteria of an arm that need labels, per kind of model."""
UNLABELLED_ARM_CRITERIA = ("latency", "errors")
"""Criteria of an arm that need no labels."""
ROLLBACK_CRITERIA = (
    *("errors", "refusals", "ttft", "time_per_token", "latency"),
    *("input_tokens", "output_tokens", "cost", "faulty"),
)
"""Criteria of a rollback, besides the names of evaluators."""
LATENCY_CRITERIA = ("latency", "latency_p50", "latency_p95", "latency_p99", "latency_slo")
UNLABELLED_CRITERIA = ("agreement", *LATENCY_CRITERIA, "cost", "missing")
"""Criteria of a candidate that need no labels; `agreement` needs classes."""
SHARE_CRITERIA = ("accuracy", "auc", "agreement", *LATENCY_CRITERIA[1:], "missing", "errors", "refusals", "faulty")
"""Criteria whose difference is one of shares, so a margin of 1 or more allows everything."""


def label_kind(label: LabelSpec) -> str:
    """Return the kind of model with such labels: a key of `PERFORMANCE_METRICS`."""
    if label.type == "float":
        return "number"
    return "classes" if label.classes else "binary"


def default_source(field: str) -> str:
    """Return the source of a field that has none: the output of that name, else the feature."""
    return field if field in OUTPUT_TYPES else f"{FEATURES}.{field}"


def default_slice_source(name: str, fields: tuple[Field, ...]) -> str:
    """Return the source of a slice that has none: that of its field, `arm` for `arm`, else the request's context."""
    for field in fields:
        if field.name == name and field.source.startswith((f"{FEATURES}.", f"{CONTEXT}.")):
            return field.source
    return "arm" if name == "arm" else f"{CONTEXT}.{name}"


def with_sources(contract: Contract) -> Contract:
    """Return a contract whose fields and slices have the default source if they have none."""
    return _with_sources(contract, lambda source, default: source or default)


def without_default_sources(contract: Contract) -> Contract:
    """Return a contract whose fields and slices have no source if it is the default."""
    return _with_sources(contract, lambda source, default: "" if source == default else source)


def _with_sources(contract: Contract, choose: Callable[[str, str], str]) -> Contract:
    replace = msgspec.structs.replace
    fields = [replace(field, source=choose(field.source, default_source(field.name))) for field in contract.fields]
    known = tuple(field if field.source else old for field, old in zip(fields, contract.fields, strict=True))
    slices = (
        replace(dimension, source=choose(dimension.source, default_slice_source(dimension.name, known)))
        for dimension in contract.slices
    )
    return replace(contract, fields=tuple(fields), slices=tuple(slices))


class CheckFailure(msgspec.Struct, frozen=True):
    """One failed check."""

    path: Path
    message: str
    needs: tuple[Path, ...] = ()
    """Other values that the check depends on; the failure is void if one of them could not be read."""


def check_contract(contract: Contract) -> None:
    """Check a contract that was created in code.

    Raises:
        ContractError: A check failed; `problems` names the keys as in a file.
    """
    problems = [
        Problem(f"contract {quoted(contract.model)}", 0, f"{describe_path(failure.path)}: {failure.message}")
        for failure in check_failures(contract)
    ]
    if problems:
        raise ContractError(problems)


def check_failures(contract: Contract) -> list[CheckFailure]:
    """List all failed checks of a contract, in the order of its keys."""
    return [
        *_names(contract),
        *_timezone(contract),
        *_times(contract),
        *_fields(contract),
        *_slices(contract),
        *_label(contract),
        *_arms(contract),
        *_shadow(contract),
        *_text(contract),
        *_rollback(contract),
        *_serving(contract),
        *_consumers(contract),
        *_declared_sources(contract),
        *_costs(contract),
        *(CheckFailure(*arguments) for arguments in evaluator_failures(contract)),
        *_performance(contract),
        *_thresholds(contract),
        *(CheckFailure(*arguments) for arguments in alert_check_failures(contract)),
        *_ignored(contract),
    ]


def _names(contract: Contract) -> Iterator[CheckFailure]:
    named: list[tuple[Path, str]] = [(("model",), contract.model)]
    named += [(("owners", position), owner) for position, owner in enumerate(contract.owners)]
    named += [(("fields", field.name), field.name) for field in contract.fields]
    named += [(("slices", dimension.name), dimension.name) for dimension in contract.slices]
    named += [
        (("slices", dimension.name, "values", position), value)
        for dimension in contract.slices
        for position, value in enumerate(dimension.values)
    ]
    named += [(("prices", position, "version"), price.version) for position, price in enumerate(contract.prices)]
    named += [(("deployments", version), version) for version in contract.deployments]
    named += [(("consumers", name), name) for name in contract.consumers]
    named += [(("sources", name), name) for name in contract.declared_sources]
    named += [(("ignored", name), name) for name in contract.ignored]
    for path, name in named:
        fault = name_fault(name)
        if fault is not None:
            yield CheckFailure(path, fault)


def _timezone(contract: Contract) -> Iterator[CheckFailure]:
    try:
        zoneinfo.ZoneInfo("UTC")
    except zoneinfo.ZoneInfoNotFoundError:
        return  # a slim image has no time zone database: skip the check, since serving must start
    try:
        zoneinfo.ZoneInfo(contract.timezone)
    except (KeyError, ValueError, OSError):
        yield CheckFailure(
            ("timezone",),
            f"{quoted(contract.timezone)} is not a time zone; write an IANA name such as America/New_York",
        )


def _times(contract: Contract) -> Iterator[CheckFailure]:
    pane_s = contract.pane_s
    pane_path: Path = ("pane",)
    if pane_s <= 0:
        yield CheckFailure(pane_path, "is zero; write 1m")
        return
    pane = format_duration(pane_s)
    if SECONDS_PER_HOUR % pane_s and pane_s % SECONDS_PER_HOUR:
        yield CheckFailure(pane_path, f"{pane} neither divides an hour nor is a multiple of one; write 1m, 5m or 1h")
    for key, value_s in (("lateness", contract.lateness_s), ("out_of_order", contract.out_of_order_s)):
        if value_s < 0:
            yield CheckFailure((key,), "is negative; write 0s or more")
    if not contract.windows:
        yield CheckFailure(("windows",), "is empty; write at least one {length, hop}")
    first: dict[int, int] = {}
    first_last: dict[int, int] = {}
    for position, window in enumerate(contract.windows):
        path: Path = ("windows", position)
        if window.length_s <= 0 or window.hop_s <= 0:
            yield CheckFailure(path, "has no length or no hop; write durations such as {length: 15m, hop: 1m}")
            continue
        length, hop = format_duration(window.length_s), format_duration(window.hop_s)
        length_path, hop_path = (*path, "length"), (*path, "hop")
        both = (length_path, hop_path)
        if window.length_s % window.hop_s:
            yield CheckFailure(length_path, f"{length} is not a multiple of the hop {hop}; change one of them", both)
        if window.length_s % pane_s:
            message = f"{length} is not a multiple of the pane {pane}; change one of them"
            yield CheckFailure(length_path, message, (length_path, pane_path))
        if window.hop_s % pane_s:
            message = f"{hop} is not a multiple of the pane {pane}; change one of them"
            yield CheckFailure(hop_path, message, (hop_path, pane_path))
        if window.length_s in first:
            message = f"windows[{first[window.length_s]}] already has the length {length}; remove one"
            yield CheckFailure(length_path, message)
        first.setdefault(window.length_s, position)
        if not window.last:
            continue
        if window.length_s > MAX_SEARCHED_PANES * pane_s:
            message = f"{length} has more than {MAX_SEARCHED_PANES:,} panes of {pane}; shorten it, or lengthen the pane"
            yield CheckFailure(length_path, message, (length_path, pane_path))
        if window.last in first_last:
            message = f"windows[{first_last[window.last]}] already is the last {window.last}; remove one"
            yield CheckFailure((*path, "last"), message)
        first_last.setdefault(window.last, position)


def _fields(contract: Contract) -> Iterator[CheckFailure]:
    first_by_name: set[str] = set()
    first_by_source: dict[str, str] = {}
    for field in contract.fields:
        path: Path = ("fields", field.name)
        if field.name in first_by_name:
            yield CheckFailure(path, "occurs twice; remove one")
            continue
        first_by_name.add(field.name)
        yield from _source(field, (*path, "from"))
        if field.source in first_by_source:
            other = quoted(first_by_source[field.source])
            message = f"the field {other} already reads {field.source}; remove one"
            yield CheckFailure((*path, "from"), message)
        first_by_source.setdefault(field.source, field.name)
        yield from _settings(field, path)


def _source(field: Field, path: Path) -> Iterator[CheckFailure]:
    type_path = (*path[:-1], "type")
    if field.name in OUTPUT_TYPES and field.source != field.name:
        yield CheckFailure(
            path,
            f"{field.name} is the model's own output and reads the member {field.name}, not "
            f"{quoted(field.source)}; give this field another name, such as feature_{field.name}",
        )
        return
    if field.source in OUTPUT_TYPES:
        if field.name != field.source:
            yield CheckFailure(path, f"{field.source} is an output; rename this field to {field.source}")
        elif field.type not in OUTPUT_TYPES[field.source]:
            types = " or ".join(OUTPUT_TYPES[field.source])
            yield CheckFailure(
                type_path, f"the output {field.name} cannot be a {field.type}; write {types}", (type_path,)
            )
        return
    map_name, _, member = field.source.partition(".")
    if field.source == CONFIDENCE:
        if field.type != "float":
            yield CheckFailure(type_path, f"{CONFIDENCE} cannot be a {field.type}; write float", (type_path, path))
    elif map_name not in MAPS or not member:
        yield CheckFailure(
            path,
            f"{quoted(field.source)} is not a source; write features.NAME, context.NAME, metrics.NAME, scores.CLASS, "
            "score, class, latency_ms or confidence",
        )
    elif map_name == CONTEXT and field.type not in ("category", "timestamp"):
        message = f"request context is text, not {field.type}; write category or timestamp"
        yield CheckFailure(type_path, message, (type_path, path))
    elif map_name == METRICS and field.type not in ("float", "int"):
        message = f"metrics are numbers, not {field.type}; write float or int"
        yield CheckFailure(type_path, message, (type_path, path))
    elif map_name == SCORES and field.type != "float":
        message = f"scores are probabilities, not {field.type}; write float"
        yield CheckFailure(type_path, message, (type_path, path))


def _settings(field: Field, path: Path) -> Iterator[CheckFailure]:
    kind: Path = (*path, "type")
    is_limited = field.low is not None or field.high is not None
    if is_limited and field.type not in NUMERIC_TYPES:
        message = f"a {field.type} has no range; remove it"
        yield CheckFailure((*path, "range"), message, (kind, (*path, "range")))
    elif field.low is not None and field.high is not None and field.low > field.high:
        yield CheckFailure((*path, "range"), f"{field.low:g} is above {field.high:g}; write the smaller limit first")
    for each in keys_of(Field) if field.type not in NUMERIC_TYPES else ():
        value = getattr(field, each.member)
        if each.for_numbers and value != each.default:
            message = f"{written(each.key.kind, value)} is for numbers, not {field.type}; remove it"
            yield CheckFailure((*path, each.key.name), message, (kind,))
    if field.weight <= 0:
        yield CheckFailure((*path, "weight"), "is not positive; write a number above 0, such as 1")
    pii = (*path, "pii")
    if field.pii == "keep":
        return
    if field.source in OUTPUT_TYPES:
        yield CheckFailure(pii, f"the output {field.source} cannot be monitored with pii {field.pii}; write keep")
    elif field.pii in ("hash", "truncate") and field.type != "category":
        message = f"{field.pii} converts a {field.type} to text; write type category, or pii drop"
        yield CheckFailure(pii, message, (kind, pii))


def _slices(contract: Contract) -> Iterator[CheckFailure]:
    by_source = {field.source: field for field in contract.fields}
    names: set[str] = set()
    for dimension in contract.slices:
        path: Path = ("slices", dimension.name)
        if dimension.name in names:
            yield CheckFailure(path, "occurs twice; remove one")
        names.add(dimension.name)
        if "=" in dimension.name:
            yield CheckFailure(path, "slices are named NAME=value, so NAME cannot contain =; rename it, and write from")
        yield from _dimension(dimension, path)
        for source in dimension.sources:
            yield from _dimension_source(dimension, source, path, by_source.get(source))
        numeric = {field.name for field in contract.fields if field.type in NUMERIC_TYPES}
        for position, name in enumerate(dimension.sketches):
            if name not in numeric:
                message = f"{quoted(name)} is not a numeric field of this contract; write the name of one"
                yield CheckFailure((*path, "sketches", position), message, (("fields",),))


def _dimension(dimension: Slice, path: Path) -> Iterator[CheckFailure]:
    if len(set(dimension.sources)) < len(dimension.sources):
        yield CheckFailure((*path, "from"), f"{quoted(dimension.source)} crosses a source with itself; write each once")
    if dimension.top < 1:
        yield CheckFailure((*path, "top"), "is less than 1; write how many values get a slice, such as 20")
    for position, value in enumerate(dimension.values):
        value_path = (*path, "values", position)
        if value == "other":
            yield CheckFailure(value_path, "other is reserved for all other values; remove it")
        if value in dimension.values[:position]:
            yield CheckFailure(value_path, f"{quoted(value)} occurs twice; remove one")
        if value.count(CROSS) != len(dimension.sources) - 1 and len(dimension.sources) > 1:
            remedy = f"write {len(dimension.sources)} values joined by {quoted(CROSS)}"
            yield CheckFailure(value_path, f"{quoted(value)} is not a value of {quoted(dimension.source)}; {remedy}")


def _dimension_source(dimension: Slice, source: str, path: Path, field: Field | None) -> Iterator[CheckFailure]:
    map_name, _, member = source.partition(".")
    if source != "arm" and (map_name not in (FEATURES, CONTEXT) or not member):
        message = f"{quoted(source)} is not a source of a slice; write features.NAME, context.NAME or arm"
        yield CheckFailure((*path, "from"), message)
    if field is None:
        return
    needs: tuple[Path, ...] = (("fields", field.name, "type"), ("fields", field.name, "pii"))
    if field.type in ("float", "timestamp"):
        message = f"the field {quoted(field.name)} is a {field.type}; slice by a category, bool or int"
        yield CheckFailure(path, message, needs)
    if field.pii == "drop":
        yield CheckFailure(path, f"the field {quoted(field.name)} is dropped by its pii; slice by another field", needs)
    if field.pii == "hash" and dimension.values:
        message = f"the field {quoted(field.name)} is hashed, so no event contains these values; remove values"
        yield CheckFailure((*path, "values"), message, needs)


def _label(contract: Contract) -> Iterator[CheckFailure]:
    label = contract.label
    if label is None:
        return
    needs: tuple[Path, ...] = (("label", "type"),)
    if label.classes and label.type != "category":
        yield CheckFailure(("label", "classes"), f"a {label.type} has no classes; write type category", needs)
    if label.classes and label.positive is not None:
        message = "a model with classes has no positive class; remove positive or classes"
        yield CheckFailure(("label", "classes"), message, (("label", "positive"),))
    if label.horizon_s <= 0:
        yield CheckFailure(("label", "horizon"), "is zero; write how long labels may take, such as 30d")
    if not 0 < label.mature <= 1:
        yield CheckFailure(("label", "mature"), "is not a share; write a number in (0, 1], such as 0.95")
    yield from _negative(label, needs)
    if label.positive is None:
        return
    path: Path = ("label", "positive")
    if label.type == "float":
        yield CheckFailure(path, "a numeric label has no positive class; remove it", needs)
    elif label.type == "category" and isinstance(label.positive, bool):
        word = str(label.positive).lower()
        yield CheckFailure(path, f'a category is text; write "{word}" in quotes, or type bool', needs)


def _negative(label: LabelSpec, needs: tuple[Path, ...]) -> Iterator[CheckFailure]:
    if label.negative is None:
        return
    path: Path = ("label", "negative")
    if label.type != "bool":
        yield CheckFailure(
            path, f"only a bool has two values, not a {label.type}; remove it, or write type bool", needs
        )
        return
    flag = flag_value(label.negative)
    if label.negative == label.positive or flag == positive_value(label):
        message = f"{quoted(label.negative)} is the value of positive too; write the name of the other class"
        yield CheckFailure(path, message, (("label", "positive"), *needs))


def _is_context_member(source: str) -> bool:
    return source.startswith(_CONTEXT_PREFIX) and len(source) > len(_CONTEXT_PREFIX)


def _arms(contract: Contract) -> Iterator[CheckFailure]:
    arms = contract.arms
    if arms is None:
        return
    total = sum(arms.shares.values())
    if abs(total - 1) > 1e-6:
        yield CheckFailure(("arms", "shares"), f"the shares sum to {total:g}; write shares that sum to 1")
    if len(arms.shares) < 2:
        yield CheckFailure(("arms", "shares"), "a test has two arms or more; write each with its share")
    if arms.unit and not _is_context_member(arms.unit):
        yield CheckFailure(
            ("arms", "unit"), f"{quoted(arms.unit)} is not a unit; write context.NAME, such as context.user"
        )
    if arms.control and arms.control not in arms.shares:
        message = f"{quoted(arms.control)} is not an arm; write one of {', '.join(arms.shares)}"
        yield CheckFailure(("arms", "control"), message, (("arms", "shares"),))
    yield from _criteria(contract, "arms", arms.margins, ARM_CRITERIA, UNLABELLED_ARM_CRITERIA)


def _shadow(contract: Contract) -> Iterator[CheckFailure]:
    shadow = contract.shadow
    if shadow is None:
        return
    if shadow.candidate == shadow.of:
        message = f"{quoted(shadow.candidate)} is the primary too; write the version of the candidate"
        yield CheckFailure(("shadow", "candidate"), message, (("shadow", "of"),))
    if not shadow.margins:
        yield CheckFailure(("shadow", "margins"), "has no criterion; write at least one, such as accuracy: 0.005")
    unlabelled: tuple[str, ...] = UNLABELLED_CRITERIA
    if contract.label is not None and label_kind(contract.label) == "number":
        unlabelled = tuple(name for name in unlabelled if name != "agreement")
    yield from _criteria(contract, "shadow", shadow.margins, SHADOW_CRITERIA, unlabelled)
    yield from _shadow_settings(contract, shadow)


def _rollback(contract: Contract) -> Iterator[CheckFailure]:
    rollback, arms = contract.rollback, contract.arms
    if rollback is None:
        return
    section: Path = ("rollback",)
    if arms is None:
        yield CheckFailure(section, "compares arms; write arms, with shares and unit", (("arms",),))
    for arm in () if arms is None else arms.shares:
        name, _, version = arm.partition("@")
        if rollback.prompt and (name != rollback.prompt or not _is_version(version)):
            message = (
                f"the arm {quoted(arm)} is no version of {rollback.prompt}; write arms such as {rollback.prompt}@7"
            )
            yield CheckFailure(("arms", "shares", arm), message, (("rollback", "prompt"),))
    if not rollback.margins:
        yield CheckFailure((*section, "margins"), "has no criterion; write at least one, such as errors: 0.005")
    yield from _criteria(contract, "rollback", rollback.margins, {}, (*ROLLBACK_CRITERIA, *contract.evaluators))
    for name in contract.evaluators:
        if name in ROLLBACK_CRITERIA:
            yield CheckFailure(("evaluators", name), "is the name of a criterion of `rollback`; write another name")
        elif rollback.margins.get(name, 0.0) >= 1:
            margin = rollback.margins[name]
            message = f"{margin:g} allows every loss, as it is a share; write a number below 1, such as 0.01"
            yield CheckFailure(("rollback", "margins", name), message)
    if rollback.to == rollback.label:
        message = f"{quoted(rollback.to)} is the label that moves; write previous, a version or another label"
        yield CheckFailure((*section, "to"), message, ((*section, "label"),))
    for key, value in (("label", rollback.label), ("to", rollback.to)):
        if value.isdigit() and (key == "label" or not _is_version(value)):
            remedy = "a label, such as production" if key == "label" else "a version from 1"
            yield CheckFailure((*section, key), f"{quoted(value)} is a number; write {remedy}")


def _is_version(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) <= 10 and int(text) >= 1


def _serving(contract: Contract) -> Iterator[CheckFailure]:
    for key, is_set in (("promotion", contract.promotion == "required"), ("suites", bool(contract.suites))):
        if is_set and not contract.serving:
            cause = "promotion: required" if key == "promotion" else key
            message = f"is required with {cause}; write the version whose answers are used"
            yield CheckFailure(("serving",), message, ((key,),))
    if contract.shadow is not None and contract.serving not in ("", contract.shadow.of):
        message = f"{quoted(contract.shadow.of)} is not the version of serving, {quoted(contract.serving)}; write that"
        yield CheckFailure(("shadow", "of"), message, (("serving",),))


def _consumers(contract: Contract) -> Iterator[CheckFailure]:
    fields = frozenset(field.name for field in contract.fields)
    if contract.caller and not _is_context_member(contract.caller):
        yield CheckFailure(("caller",), f"{quoted(contract.caller)} is not a member of context; write context.NAME")
    for name, consumer in contract.consumers.items():
        if consumer.caller and not contract.caller:
            message = "needs caller of the contract, the member of events that names callers; write context.NAME"
            yield CheckFailure(("consumers", name, "caller"), message, (("caller",),))
        kinds = [kind for kind in CONSUMER_KINDS if getattr(consumer, kind)]
        if len(kinds) != 1:
            text = "none is" if not kinds else f"{' and '.join(kinds)} are"
            message = f"needs exactly one of {', '.join(CONSUMER_KINDS)}, and {text} set"
            yield CheckFailure(("consumers", name), message)
        yield from _listed_fields(consumer.fields, fields, ("consumers", name, "fields"))


def _declared_sources(contract: Contract) -> Iterator[CheckFailure]:
    fields = frozenset(field.name for field in contract.fields)
    for name, source in contract.declared_sources.items():
        path = ("sources", name, "fields")
        if not source.fields:
            yield CheckFailure(path, "is empty; name the fields that the source computes")
        yield from _listed_fields(source.fields, fields, path)


def _listed_fields(names: tuple[str, ...], fields: frozenset[str], path: Path) -> Iterator[CheckFailure]:
    for name in names:
        if name not in fields:
            yield CheckFailure(path, f"{name!r} is no field of the contract; remove it, or correct its name")


def _costs(contract: Contract) -> Iterator[CheckFailure]:
    periods = [name for name in ("day", "month") if getattr(contract.budget, name) is not None]
    if periods and contract.raw_share < 1:
        message = "needs the cost of every call, which is read from raw events; write raw: all, or remove the budget"
        yield CheckFailure(("budget", periods[0]), message, (("raw",),))
    if contract.user and not _is_context_member(contract.user):
        yield CheckFailure(("user",), f"{quoted(contract.user)} is not a member of context; write context.NAME")
    if contract.trace_url and not re.fullmatch(r"https?://\S*\{trace_id\}\S*", contract.trace_url):
        yield CheckFailure(("trace_url",), "is not an address with {trace_id}; write https://HOST/…/{trace_id}")
    first: dict[tuple[str, str], int] = {}
    for position, price in enumerate(contract.prices):
        if first.setdefault((price.version, price.since), position) != position:
            message = "has the version and the day of an earlier price; remove one of them"
            yield CheckFailure(("prices", position), message)


def _criteria(
    contract: Contract,
    section: str,
    margins: Mapping[str, float],
    by_kind: Mapping[str, tuple[str, ...]],
    unlabelled: tuple[str, ...],
) -> Iterator[CheckFailure]:
    """Check the margins of a section: whether the model has each criterion, and raw events to count it from."""
    if margins and contract.raw_share == 0:
        message = "are counted from raw events; write raw: all or raw: {share: 0.1}, or remove them"
        yield CheckFailure((section, "margins"), message, (("raw",),))
    labelled = () if contract.label is None else by_kind.get(label_kind(contract.label), ())
    need_labels = {name for names in by_kind.values() for name in names}
    for criterion, margin in margins.items():
        path = (section, "margins", criterion)
        if contract.label is None and criterion in need_labels:
            message = f"{quoted(criterion)} requires ground truth; write label, or one of {', '.join(unlabelled)}"
            yield CheckFailure(path, message, (("label",),))
        elif criterion not in (*labelled, *unlabelled):
            known = ", ".join((*labelled, *unlabelled))
            message = f"{quoted(criterion)} is not a criterion of this kind of model; write one of {known}"
            yield CheckFailure(path, message, (("label",),))
        if criterion in SHARE_CRITERIA and margin >= 1:
            message = f"{margin:g} allows every loss, as it is a share; write a number below 1, such as 0.01"
            yield CheckFailure(path, message)


def _shadow_settings(contract: Contract, shadow: ShadowTest) -> Iterator[CheckFailure]:
    """Check what single criteria need."""
    for key, other in (("candidate", shadow.candidate), ("of", shadow.of)):
        if shadow.copy and shadow.copy == other:
            message = f"{quoted(shadow.copy)} is the version in {key} too; give the copy a version of its own"
            yield CheckFailure(("shadow", "copy"), message, (("shadow", key),))
    if "cost" in shadow.margins and not any(shadow.prices.values()):
        message = "cost requires prices; write shadow.prices, such as {input_tokens: 0.000003}, or remove it"
        yield CheckFailure(("shadow", "margins", "cost"), message, (("shadow", "prices"),))
    if shadow.candidate_prices and not shadow.prices:
        message = "the primary has no prices; write shadow.prices too"
        yield CheckFailure(("shadow", "candidate_prices"), message, (("shadow", "prices"),))
    if "latency_slo" in shadow.margins and contract.slo.latency_ms is None:
        message = "latency_slo requires a target; write slo.latency_ms, or remove it"
        yield CheckFailure(("shadow", "margins", "latency_slo"), message, (("slo", "latency_ms"),))


def _performance(contract: Contract) -> Iterator[CheckFailure]:
    promises = contract.slo.performance
    if promises and contract.label is None:
        message = "performance requires ground truth; write label, or remove it"
        yield CheckFailure(("slo", "performance"), message, (("label",),))
        return
    for metric in promises:
        known = PERFORMANCE_METRICS[label_kind(contract.label)] if contract.label else ()
        if metric not in known:
            message = f"{quoted(metric)} is not a metric of this kind of model; write one of {', '.join(known)}"
            yield CheckFailure(("slo", "performance", metric), message, (("label",),))


def _text(contract: Contract) -> Iterator[CheckFailure]:
    sources: list[tuple[Path, str]] = [(("fields", field.name, "from"), field.source) for field in contract.fields]
    sources += [
        (("slices", dimension.name, "from"), source) for dimension in contract.slices for source in dimension.sources
    ]
    sources += [(("user",), contract.user), (("caller",), contract.caller)]
    if contract.arms is not None:
        sources.append((("arms", "unit"), contract.arms.unit))
    for path, source in sources:
        if source in TEXT_SOURCES:
            message = f"{source} is text of people and is only recorded; monitor features such as {FEATURES}.topic"
            yield CheckFailure(path, message)
    text = contract.text
    if text is None:
        return
    if text.codebook and not _CODEBOOK_ID.fullmatch(text.codebook):
        message = (
            f"{quoted(text.codebook)} is not the id of a codebook; write the 16 digits that `codebook show` prints"
        )
        yield CheckFailure(("text", "codebook"), message)
    if not 0 <= text.sample <= 1:
        yield CheckFailure(("text", "sample"), f"the share {text.sample:g} is outside [0, 1]; write 0.01")
    publishes = text.content in ("redact", "keep")
    needs: tuple[Path, ...] = (("text", "content"),)
    if publishes and text.sample == 0:
        message = f"is zero, so content: {text.content} publishes nothing; write a share such as 0.01"
        yield CheckFailure(("text", "sample"), message, needs)
    if text.sample and not publishes:
        message = f"has no effect with content: {text.content}; remove it, or write content: redact"
        yield CheckFailure(("text", "sample"), message, needs)


def _thresholds(contract: Contract) -> Iterator[CheckFailure]:
    psi = contract.thresholds
    for name, thresholds in (("psi", psi), ("rates", contract.rate_thresholds)):
        minor, major = ("thresholds", name, "minor"), ("thresholds", name, "major")
        if thresholds.minor > thresholds.major:
            message = f"{thresholds.minor:g} is above major ({thresholds.major:g}); write the smaller one"
            yield CheckFailure(minor, message, (minor, major))
    if psi.clear > psi.major:
        message = f"{psi.clear:g} is above major ({psi.major:g}), so alerts would clear as they fire; write less"
        clear = ("thresholds", "psi", "clear")
        yield CheckFailure(clear, message, (clear, ("thresholds", "psi", "major")))
    if not 0 <= contract.raw_share <= 1:
        yield CheckFailure(("raw",), f"the share {contract.raw_share:g} is outside [0, 1]; write all, none or 0.1")
    if contract.slo.latency_share is not None and contract.slo.latency_ms is None:
        message = "latency_share has no effect alone; write latency_ms too"
        yield CheckFailure(("slo", "latency_share"), message, (("slo", "latency_ms"),))
    fields = {field.name: field for field in contract.fields}
    for name in contract.slo.in_range:
        path, field = ("slo", "in_range", name), fields.get(name)
        if field is None:
            yield CheckFailure(path, f"there is no field {quoted(name)}; name one of `fields`", (("fields",),))
        elif field.type not in NUMERIC_TYPES or (field.low is None and field.high is None):
            message = f"the field {quoted(name)} has no range; write range: [null, LARGEST]"
            yield CheckFailure(path, message, (("fields", name),))


def _ignored(contract: Contract) -> Iterator[CheckFailure]:
    monitored = {field.source: field.name for field in contract.fields}
    for name, reason in contract.ignored.items():
        if not reason.strip():
            yield CheckFailure(("ignored", name), "has no reason; write why it is not monitored")
        field = monitored.get(f"{FEATURES}.{name}")
        if field is not None:
            message = f"the field {quoted(field)} monitors {FEATURES}.{name}; remove one of them"
            yield CheckFailure(("ignored", name), message)
