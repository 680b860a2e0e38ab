"""What must hold between the values of a contract, wherever it came from."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator

import msgspec

from barograph.contract import CROSS, SECONDS_PER_HOUR, Contract, Field, LabelSpec, Slice, format_duration
from barograph.contract.alerts_section import alert_check_failures
from barograph.contract.kinds import Path, describe_path, name_fault
from barograph.contract.problems import ContractError, Problem, quoted

OUTPUT_TYPES = {"score": ("float", "int"), "class": ("category",), "latency_ms": ("float", "int")}
"""The outputs of every model: a field of such a name reads the member of that name, as one of these types."""

CONFIDENCE = "confidence"
"""The source that is no member of an event: the largest of `scores`."""

_NUMERIC = ("float", "int", "timestamp")

METRICS = {
    "binary": ("accuracy", "precision", "recall", "f1", "auc", "log_loss", "brier", "calibration_error"),
    "classes": (
        "accuracy",
        "precision_macro",
        "recall_macro",
        "f1_macro",
        "precision_micro",
        "recall_micro",
        "f1_micro",
        "auc_macro",
        "log_loss",
        "brier",
        "calibration_error",
    ),
    "number": ("mae", "rmse", "bias"),
}
"""What performance is measured by, per kind of model; `label_kind` says which a contract has."""


def label_kind(label: LabelSpec) -> str:
    """Name the kind of model that a label makes: a key of `METRICS`."""
    if label.type == "float":
        return "number"
    return "classes" if label.classes else "binary"


def default_source(field: str) -> str:
    """The source of a field that names none: the output of that name, else the feature."""
    return field if field in OUTPUT_TYPES else f"features.{field}"


def default_slice_source(name: str, fields: tuple[Field, ...]) -> str:
    """The source of a slice that names none: its field's, `arm` for `arm`, else the request's context."""
    for field in fields:
        if field.name == name and field.source.startswith(("features.", "context.")):
            return field.source
    return "arm" if name == "arm" else f"context.{name}"


class CheckFailure(msgspec.Struct, frozen=True):
    """Something that does not hold."""

    path: Path
    message: str
    needs: tuple[Path, ...] = ()
    """Other values that the finding rests on; it is void where one of them could not be read."""


def check_contract(contract: Contract) -> None:
    """Check a contract that was made in code.

    Raises:
        ContractError: something does not hold; `problems` names the keys as the file would have them.
    """
    problems = [
        Problem(f"contract {quoted(contract.model)}", 0, f"{describe_path(failure.path)}: {failure.message}")
        for failure in check_failures(contract)
    ]
    if problems:
        raise ContractError(problems)


def check_failures(contract: Contract) -> list[CheckFailure]:
    """List everything that does not hold in a contract, in the order of its keys."""
    return [
        *_names(contract),
        *_timezone(contract),
        *_times(contract),
        *_fields(contract),
        *_slices(contract),
        *_label(contract),
        *_arms(contract),
        *_performance(contract),
        *_lines(contract),
        *(CheckFailure(*found) for found in alert_check_failures(contract)),
        *_ignored(contract),
    ]


def _names(contract: Contract) -> Iterator[CheckFailure]:
    named: list[tuple[Path, str]] = [(("model",), contract.model)]
    named += [(("owners", position), owner) for position, owner in enumerate(contract.owners)]
    named += [(("fields", field.name), field.name) for field in contract.fields]
    named += [(("slices", cut.name), cut.name) for cut in contract.slices]
    named += [
        (("slices", cut.name, "values", position), value)
        for cut in contract.slices
        for position, value in enumerate(cut.values)
    ]
    named += [(("ignored", name), name) for name in contract.ignored]
    for path, name in named:
        fault = name_fault(name)
        if fault is not None:
            yield CheckFailure(path, fault)


def _timezone(contract: Contract) -> Iterator[CheckFailure]:
    try:
        zoneinfo.ZoneInfo("UTC")
    except zoneinfo.ZoneInfoNotFoundError:
        return  # a slim image without a time zone database: nothing can be said here, and serving must start
    try:
        zoneinfo.ZoneInfo(contract.timezone)
    except (KeyError, ValueError, OSError):
        yield CheckFailure(
            ("timezone",),
            f"{quoted(contract.timezone)} is no time zone; write an IANA name such as America/New_York",
        )


def _times(contract: Contract) -> Iterator[CheckFailure]:
    pane_s = contract.pane_s
    pane_path: Path = ("pane",)
    if pane_s <= 0:
        yield CheckFailure(pane_path, "has no length; write 1m")
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
    for position, window in enumerate(contract.windows):
        path: Path = ("windows", position)
        if window.length_s <= 0 or window.hop_s <= 0:
            yield CheckFailure(path, "has no length or no hop; write durations such as {length: 15m, hop: 1m}")
            continue
        length, hop = format_duration(window.length_s), format_duration(window.hop_s)
        length_path, hop_path = (*path, "length"), (*path, "hop")
        both = (length_path, hop_path)
        if window.length_s % window.hop_s:
            yield CheckFailure(length_path, f"{length} is no multiple of the hop {hop}; change one of them", both)
        if window.length_s % pane_s:
            message = f"{length} is no multiple of the pane {pane}; change one of them"
            yield CheckFailure(length_path, message, (length_path, pane_path))
        if window.hop_s % pane_s:
            message = f"{hop} is no multiple of the pane {pane}; change one of them"
            yield CheckFailure(hop_path, message, (hop_path, pane_path))
        if window.length_s in first:
            message = f"windows[{first[window.length_s]}] is {length} long already; leave one out"
            yield CheckFailure(length_path, message)
        first.setdefault(window.length_s, position)


def _fields(contract: Contract) -> Iterator[CheckFailure]:
    first_by_name: set[str] = set()
    first_by_source: dict[str, str] = {}
    for field in contract.fields:
        path: Path = ("fields", field.name)
        if field.name in first_by_name:
            yield CheckFailure(path, "stands here twice; leave one out")
            continue
        first_by_name.add(field.name)
        yield from _source(field, (*path, "from"))
        if field.source in first_by_source:
            other = quoted(first_by_source[field.source])
            message = f"the field {other} reads {field.source} already; leave one out"
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
            yield CheckFailure(path, f"{field.source} is the source of the field {field.source}; rename this field so")
        elif field.type not in OUTPUT_TYPES[field.source]:
            types = " or ".join(OUTPUT_TYPES[field.source])
            yield CheckFailure(type_path, f"the output {field.name} is no {field.type}; write {types}", (type_path,))
        return
    room, _, member = field.source.partition(".")
    if field.source == CONFIDENCE:
        if field.type != "float":
            yield CheckFailure(type_path, f"{CONFIDENCE} is no {field.type}; write float", (type_path, path))
    elif room not in ("features", "context", "metrics", "scores") or not member:
        yield CheckFailure(
            path,
            f"{quoted(field.source)} is no source; write features.NAME, context.NAME, metrics.NAME, scores.CLASS, "
            "score, class, latency_ms or confidence",
        )
    elif room == "context" and field.type not in ("category", "timestamp"):
        message = f"request context is text, not {field.type}; write category or timestamp"
        yield CheckFailure(type_path, message, (type_path, path))
    elif room == "metrics" and field.type not in ("float", "int"):
        message = f"metrics are numbers, not {field.type}; write float or int"
        yield CheckFailure(type_path, message, (type_path, path))
    elif room == "scores" and field.type != "float":
        message = f"scores are probabilities, not {field.type}; write float"
        yield CheckFailure(type_path, message, (type_path, path))


def _settings(field: Field, path: Path) -> Iterator[CheckFailure]:
    kind: Path = (*path, "type")
    limited = field.low is not None or field.high is not None
    if limited and field.type not in _NUMERIC:
        message = f"a {field.type} has no range; leave it out"
        yield CheckFailure((*path, "range"), message, (kind, (*path, "range")))
    elif field.low is not None and field.high is not None and field.low > field.high:
        yield CheckFailure((*path, "range"), f"{field.low:g} is above {field.high:g}; write the smaller limit first")
    if field.sketch == "req" and field.type not in _NUMERIC:
        yield CheckFailure((*path, "sketch"), f"req is for numbers, not {field.type}; leave it out", (kind,))
    if field.weight <= 0:
        yield CheckFailure((*path, "weight"), "is not positive; write a number above 0, such as 1")
    pii = (*path, "pii")
    if field.pii == "keep":
        return
    if field.source in OUTPUT_TYPES:
        yield CheckFailure(pii, f"the output {field.source} cannot be judged when it is {field.pii}ed; write keep")
    elif field.pii in ("hash", "truncate") and field.type != "category":
        message = f"{field.pii} makes text of a {field.type}; write type category, or pii drop"
        yield CheckFailure(pii, message, (kind, pii))


def _slices(contract: Contract) -> Iterator[CheckFailure]:
    by_source = {field.source: field for field in contract.fields}
    seen: set[str] = set()
    for cut in contract.slices:
        path: Path = ("slices", cut.name)
        if cut.name in seen:
            yield CheckFailure(path, "stands here twice; leave one out")
        seen.add(cut.name)
        if "=" in cut.name:
            yield CheckFailure(path, "a slice is called NAME=value, so NAME holds no =; rename it, and write from")
        yield from _cut(cut, path)
        for source in cut.sources:
            yield from _cut_source(cut, source, path, by_source.get(source))
        numeric = {field.name for field in contract.fields if field.type in _NUMERIC}
        for position, name in enumerate(cut.sketches):
            if name not in numeric:
                message = f"{quoted(name)} is no numeric field of this contract; write the name of one"
                yield CheckFailure((*path, "sketches", position), message, (("fields",),))


def _cut(cut: Slice, path: Path) -> Iterator[CheckFailure]:
    if len(set(cut.sources)) < len(cut.sources):
        yield CheckFailure((*path, "from"), f"{quoted(cut.source)} crosses a source with itself; write each once")
    if cut.top < 1:
        yield CheckFailure((*path, "top"), "is less than 1; write how many values get a slice, such as 20")
    for position, value in enumerate(cut.values):
        here = (*path, "values", position)
        if value == "other":
            yield CheckFailure(here, "other is the name of the rest; leave it out")
        if value in cut.values[:position]:
            yield CheckFailure(here, f"{quoted(value)} stands here twice; leave one out")
        if value.count(CROSS) != len(cut.sources) - 1 and len(cut.sources) > 1:
            remedy = f"write {len(cut.sources)} values joined by {quoted(CROSS)}"
            yield CheckFailure(here, f"{quoted(value)} is no value of {quoted(cut.source)}; {remedy}")


def _cut_source(cut: Slice, source: str, path: Path, field: Field | None) -> Iterator[CheckFailure]:
    room, _, member = source.partition(".")
    if source != "arm" and (room not in ("features", "context") or not member):
        message = f"{quoted(source)} is no source of a slice; write features.NAME, context.NAME or arm"
        yield CheckFailure((*path, "from"), message)
    if field is None:
        return
    needs: tuple[Path, ...] = (("fields", field.name, "type"), ("fields", field.name, "pii"))
    if field.type in ("float", "timestamp"):
        message = f"the field {quoted(field.name)} is a {field.type}; slice by a category, bool or int"
        yield CheckFailure(path, message, needs)
    if field.pii == "drop":
        yield CheckFailure(path, f"the field {quoted(field.name)} is dropped by its pii; slice by another", needs)
    if field.pii == "hash" and cut.values:
        message = f"the field {quoted(field.name)} is hashed, so no event holds these; leave values out"
        yield CheckFailure((*path, "values"), message, needs)


def _label(contract: Contract) -> Iterator[CheckFailure]:
    label = contract.label
    if label is None:
        return
    needs: tuple[Path, ...] = (("label", "type"),)
    if label.classes and label.type != "category":
        yield CheckFailure(("label", "classes"), f"a {label.type} has no classes; write type category", needs)
    if label.classes and label.positive is not None:
        message = "a model with classes has no positive one; leave out positive or classes"
        yield CheckFailure(("label", "classes"), message, (("label", "positive"),))
    if label.horizon_s <= 0:
        yield CheckFailure(("label", "horizon"), "has no length; write how long labels may take, such as 30d")
    if not 0 < label.mature <= 1:
        yield CheckFailure(("label", "mature"), "is no share; write a number in (0, 1], such as 0.95")
    if label.positive is None:
        return
    path: Path = ("label", "positive")
    if label.type == "float":
        yield CheckFailure(path, "a label that is a number has no positive class; leave it out", needs)
    elif label.type == "category" and isinstance(label.positive, bool):
        word = str(label.positive).lower()
        yield CheckFailure(path, f'a category is text; write "{word}" in quotes, or type bool', needs)


def _arms(contract: Contract) -> Iterator[CheckFailure]:
    arms = contract.arms
    if arms is None:
        return
    total = sum(arms.shares.values())
    if abs(total - 1) > 1e-6:
        yield CheckFailure(("arms", "shares"), f"the shares sum to {total:g}; write shares that sum to 1")
    if len(arms.shares) < 2:
        yield CheckFailure(("arms", "shares"), "a test has two arms or more; write each with its share")
    if arms.unit and not (arms.unit.startswith("context.") and len(arms.unit) > len("context.")):
        yield CheckFailure(
            ("arms", "unit"), f"{quoted(arms.unit)} is no unit; write context.NAME, such as context.user"
        )


def _performance(contract: Contract) -> Iterator[CheckFailure]:
    promised = contract.slo.performance
    if promised and contract.label is None:
        message = "performance needs ground truth; write label, or leave it out"
        yield CheckFailure(("slo", "performance"), message, (("label",),))
        return
    for metric in promised:
        known = METRICS[label_kind(contract.label)] if contract.label else ()
        if metric not in known:
            message = f"{quoted(metric)} is not measured of this model; write one of {', '.join(known)}"
            yield CheckFailure(("slo", "performance", metric), message, (("label",),))


def _lines(contract: Contract) -> Iterator[CheckFailure]:
    psi, rates = contract.thresholds, contract.rate_thresholds
    minor: Path = ("thresholds", "psi", "minor")
    major: Path = ("thresholds", "psi", "major")
    clear: Path = ("thresholds", "psi", "clear")
    if psi.minor > psi.major:
        yield CheckFailure(
            minor, f"{psi.minor:g} is above major ({psi.major:g}); write the smaller one", (minor, major)
        )
    if psi.clear > psi.major:
        message = f"{psi.clear:g} is above major ({psi.major:g}), so an alert would clear as it fires; write less"
        yield CheckFailure(clear, message, (clear, major))
    minor, major = ("thresholds", "rates", "minor"), ("thresholds", "rates", "major")
    if rates.minor > rates.major:
        message = f"{rates.minor:g} is above major ({rates.major:g}); write the smaller one"
        yield CheckFailure(minor, message, (minor, major))
    if not 0 <= contract.raw_share <= 1:
        yield CheckFailure(("raw",), f"the share {contract.raw_share:g} is outside [0, 1]; write all, none or 0.1")
    if contract.slo.latency_share is not None and contract.slo.latency_ms is None:
        message = "a share of what? write latency_ms too"
        yield CheckFailure(("slo", "latency_share"), message, (("slo", "latency_ms"),))


def _ignored(contract: Contract) -> Iterator[CheckFailure]:
    watched = {field.source: field.name for field in contract.fields}
    for name, reason in contract.ignored.items():
        if not reason.strip():
            yield CheckFailure(("ignored", name), "has no reason; write why it is not watched")
        field = watched.get(f"features.{name}")
        if field is not None:
            message = f"the field {quoted(field)} watches features.{name}; leave one of them out"
            yield CheckFailure(("ignored", name), message)
