"""Writes a contract as a YAML file for people."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from barograph.contract import Contract, Field, LabelSpec, Slice, format_duration
from barograph.contract.alerts_section import alert_settings
from barograph.contract.check import check_contract, default_slice_source, default_source
from barograph.contract.keys import FORMAT_VERSION

LINE_CHARS = 110


def dump_contract(contract: Contract, comments: str = "") -> str:
    """Write a contract as YAML for people; `parse_contract` reads it back as an equal contract.

    Fields and slices show only what differs from the default; everything else is shown, so that it can be
    changed.

    Args:
        contract: what to write.
        comments: lines that stand at the top, each after a `#`.

    Raises:
        ContractError: the contract is not valid, so that it could not be read back.
    """
    check_contract(contract)
    lines = [f"# {_UNPRINTABLE.sub(_escape, line)}".rstrip() for line in comments.splitlines()]
    lines.append(f"contract: {FORMAT_VERSION}")
    lines.append(f"model: {_text(contract.model)}")
    prose = {"description": contract.description, "team": contract.team, "route": contract.route}
    lines += [f"{key}: {_text(text)}" for key, text in prose.items() if text]
    if contract.owners:
        lines.append(f"owners: [{', '.join(map(_text, contract.owners))}]")
    lines.append(f"timezone: {_text(contract.timezone)}")
    for key, value_s in (
        ("pane", contract.pane_s),
        ("lateness", contract.lateness_s),
        ("out_of_order", contract.out_of_order_s),
    ):
        lines.append(f"{key}: {_duration(value_s)}")
    lines.append("windows:")
    lines += [
        f"  - {{length: {_duration(window.length_s)}, hop: {_duration(window.hop_s)}}}" for window in contract.windows
    ]
    lines.append(f"raw: {_raw(contract.raw_share)}")
    lines += _block("fields", {field.name: _field_settings(field) for field in contract.fields})
    slices = {cut.name: _slice_settings(cut, contract.fields) for cut in contract.slices}
    if any(slices.values()):
        lines += _block("slices", slices)
    elif slices:
        lines.append(f"slices: [{', '.join(map(_text, slices))}]")
    lines.append(f"slice_min_n: {contract.slice_min_n}")
    if contract.season != "none":
        lines.append(f"season: {contract.season}")
    if contract.label is not None:
        lines.append(f"label: {_flow(_label_settings(contract.label))}")
    if contract.arms is not None:
        shares = _flow({_text(arm): _number(share) for arm, share in contract.arms.shares.items()})
        unit = {"unit": _text(contract.arms.unit)} if contract.arms.unit else {}
        lines.append(f"arms: {_flow({'shares': shares, **unit})}")
    psi, rates = contract.thresholds, contract.rate_thresholds
    lines.append("thresholds:")
    lines.append(f"  psi: {_flow({key: _number(getattr(psi, key)) for key in ('minor', 'major', 'clear')})}")
    lines.append(f"  rates: {_flow({key: _number(getattr(rates, key)) for key in ('minor', 'major')})}")
    slo = {key: getattr(contract.slo, key) for key in ("latency_ms", "latency_share", "error_rate")}
    promised = {key: _number(value) for key, value in slo.items() if value is not None}
    if contract.slo.performance:
        floors = {_text(metric): _number(value) for metric, value in contract.slo.performance.items()}
        promised["performance"] = _flow(floors)
    if promised:
        lines.append(f"slo: {_flow(promised)}")
    alerts = alert_settings(contract.alerts, _text, _number)
    rules = alerts.pop("rules", {})
    if alerts or rules:
        lines.append("alerts:")
        lines += [f"  {key}: {_nested(value)}" for key, value in alerts.items()]
        lines += [f"  {line}" for line in _block("rules", {name: _written(rule) for name, rule in rules.items()})]
    if contract.ignored:
        lines.append("ignored:")
        lines += [f"  {_text(name)}: {_text(reason)}" for name, reason in contract.ignored.items()]
    return "\n".join(lines) + "\n"


def _field_settings(field: Field) -> dict[str, str]:
    settings: dict[str, str] = {"type": field.type}
    if field.source != default_source(field.name):
        settings["from"] = _text(field.source)
    if field.low is not None or field.high is not None:
        settings["range"] = f"[{_number(field.low)}, {_number(field.high)}]"
    if field.critical:
        settings["critical"] = "true"
    if field.nulls != "allow":
        settings["nulls"] = field.nulls
    if field.weight != 1:
        settings["weight"] = _number(field.weight)
    if field.unit:
        settings["unit"] = _text(field.unit)
    if field.sketch != "kll":
        settings["sketch"] = field.sketch
    if field.pii != "keep":
        settings["pii"] = field.pii
    if field.policy != "flag":
        settings["policy"] = field.policy
    if field.description:
        settings["description"] = _text(field.description)
    return settings


def _slice_settings(cut: Slice, fields: tuple[Field, ...]) -> dict[str, str]:
    settings = {}
    if cut.source != default_slice_source(cut.name, fields):
        settings["from"] = _text(cut.source)
    if cut.top != Slice(name="", source="").top:
        settings["top"] = str(cut.top)
    if cut.values:
        settings["values"] = f"[{', '.join(map(_text, cut.values))}]"
    if cut.sketches:
        settings["sketches"] = f"[{', '.join(map(_text, cut.sketches))}]"
    return settings


def _label_settings(label: LabelSpec) -> dict[str, str]:
    settings: dict[str, str] = {"type": label.type}
    if isinstance(label.positive, bool):
        settings["positive"] = str(label.positive).lower()
    elif label.positive is not None:
        settings["positive"] = _text(label.positive)
    default = LabelSpec(type=label.type)
    if label.threshold != default.threshold:
        settings["threshold"] = _number(label.threshold)
    if label.classes:
        settings["classes"] = f"[{', '.join(map(_text, label.classes))}]"
    if label.horizon_s != default.horizon_s:
        settings["horizon"] = _duration(label.horizon_s)
    if label.mature != default.mature:
        settings["mature"] = _number(label.mature)
    return settings


def _block(key: str, entries: Mapping[str, dict[str, str]]) -> list[str]:
    """Write a map of maps: an entry per line, over several lines where it is too long for one."""
    lines = [f"{key}:"] if entries else []
    for name, settings in entries.items():
        line = f"  {_text(name)}: {_flow(settings)}"
        if len(line) <= LINE_CHARS:
            lines.append(line)
        else:
            lines.append(f"  {_text(name)}:")
            lines += [f"    {setting}: {value}" for setting, value in settings.items()]
    return lines


def _flow(settings: Mapping[str, str]) -> str:
    return f"{{{', '.join(f'{key}: {value}' for key, value in settings.items())}}}"


def _nested(value: str | Mapping[str, str]) -> str:
    return value if isinstance(value, str) else _flow(value)


def _written(settings: Mapping[str, str | Mapping[str, str]]) -> dict[str, str]:
    return {key: _nested(value) for key, value in settings.items()}


def _raw(share: float) -> str:
    return {0.0: "none", 1.0: "all"}.get(share) or _flow({"share": _number(share)})


def _duration(seconds: int) -> str:
    return format_duration(seconds) if seconds else "0s"


def _number(value: float | None) -> str:
    """Write a number so that YAML 1.1, YAML 1.2 and this reader all see the same one."""
    if value is None:
        return "null"
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    mantissa, mark, exponent = repr(float(value)).partition("e")
    if not mark:
        return mantissa
    fraction = "" if "." in mantissa else ".0"
    return f"{mantissa}{fraction}e{exponent}"


_PLAIN = re.compile(r"[^\W\d_][\w./+-]*(?: [\w./+-]+)*")
"""Text that needs no quotes anywhere: it begins with a letter, and none of it means anything to YAML."""
_WORDS = re.compile(r"null|true|false|yes|no|on|off|y|n", re.IGNORECASE)
_UNPRINTABLE = re.compile("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def _text(text: str) -> str:
    """Write text as a scalar, in double quotes where it could be read as anything else."""
    if _PLAIN.fullmatch(text) and not _WORDS.fullmatch(text) and not _UNPRINTABLE.search(text):
        return text
    return _UNPRINTABLE.sub(_escape, json.dumps(text, ensure_ascii=False))


def _escape(match: re.Match[str]) -> str:
    return f"\\U{ord(match[0]):08x}"
