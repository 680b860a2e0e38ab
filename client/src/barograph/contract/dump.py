"""Writes a contract as a YAML file for people."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from barograph.contract import (
    Arms,
    Columns,
    Contract,
    Deployment,
    Fallback,
    Field,
    LabelSpec,
    Rollback,
    ShadowTest,
    Slice,
    Slo,
    Text,
    TokenPrice,
)
from barograph.contract.alerts_section import alert_settings
from barograph.contract.check import check_contract, default_slice_source, default_source
from barograph.contract.consumers import DeclaredConsumer
from barograph.contract.evaluators_section import evaluator_settings
from barograph.contract.keys import FORMAT_VERSION
from barograph.contract.upstream import DeclaredSource
from barograph.contract.yaml_text import (
    duration_scalar,
    escape,
    flag_scalar,
    flow_list,
    flow_map,
    number_scalar,
    text_scalar,
)

LINE_CHARS = 110
"""Length above which an entry is written over several lines."""


def dump_contract(contract: Contract, comments: str = "") -> str:
    """Write a contract as YAML for people; `parse_contract` reads it back as an equal contract.

    Fields and slices contain only settings that differ from the default. All other keys are written, so that people see
    what they can change.

    Args:
        contract: The contract.
        comments: Lines at the top of the file, each written after a `#`.

    Raises:
        ContractError: The contract is not valid, so that it could not be read back.
    """
    check_contract(contract)
    lines = [f"# {escape(line)}".rstrip() for line in comments.splitlines()]
    lines.append(f"contract: {FORMAT_VERSION}")
    lines.append(f"model: {text_scalar(contract.model)}")
    prose = {"description": contract.description, "team": contract.team, "route": contract.route}
    lines += [f"{key}: {text_scalar(text)}" for key, text in prose.items() if text]
    if contract.owners:
        lines.append(f"owners: {flow_list(map(text_scalar, contract.owners))}")
    lines.append(f"timezone: {text_scalar(contract.timezone)}")
    for key in ("pane", "lateness", "out_of_order"):
        lines.append(f"{key}: {duration_scalar(getattr(contract, f'{key}_s'))}")
    lines.append("windows:")
    lines += [
        f"  - {{{f'last: {window.last}, ' if window.last else ''}length: {duration_scalar(window.length_s)}, "
        f"hop: {duration_scalar(window.hop_s)}}}"
        for window in contract.windows
    ]
    lines.append(f"raw: {_raw(contract.raw_share)}")
    lines += _block("fields", {field.name: _field_settings(field) for field in contract.fields})
    slices = {dimension.name: _slice_settings(dimension, contract.fields) for dimension in contract.slices}
    if any(slices.values()):
        lines += _block("slices", slices)
    elif slices:
        lines.append(f"slices: {flow_list(map(text_scalar, slices))}")
    lines.append(f"slice_min_n: {contract.slice_min_n}")
    if contract.season != "none":
        lines.append(f"season: {contract.season}")
    if contract.label is not None:
        lines.append(f"label: {flow_map(_label_settings(contract.label))}")
    if contract.arms is not None:
        lines.append(f"arms: {flow_map(_arm_settings(contract.arms))}")
    if contract.shadow is not None:
        lines.append(f"shadow: {flow_map(_shadow_settings(contract.shadow))}")
    if contract.text is not None:
        lines.append(f"text: {flow_map(_text_settings(contract.text))}")
    if contract.rollback is not None:
        lines.append(f"rollback: {flow_map(_rollback_settings(contract.rollback))}")
    if contract.serving:
        lines.append(f"serving: {text_scalar(contract.serving)}")
    if contract.promotion != "open":
        lines.append(f"promotion: {contract.promotion}")
    if contract.suites:
        lines.append(f"suites: {flow_list(map(text_scalar, contract.suites))}")
    if contract.fallback != Fallback():
        lines.append(f"fallback: {flow_map(_fallback_settings(contract.fallback))}")
    if contract.prices:
        lines.append("prices:")
        lines += [f"  - {flow_map(_price_settings(price))}" for price in contract.prices]
    budget = {name: number_scalar(value) for name, value in msgspec.to_builtins(contract.budget).items() if value}
    if budget:
        lines.append(f"budget: {flow_map(budget)}")
    if contract.user:
        lines.append(f"user: {text_scalar(contract.user)}")
    if contract.caller:
        lines.append(f"caller: {text_scalar(contract.caller)}")
    lines += _block(
        "deployments", {name: _changed_scalars(facts, Deployment()) for name, facts in contract.deployments.items()}
    )
    lines += _block("evaluators", {name: evaluator_settings(each) for name, each in contract.evaluators.items()})
    lines += _block(
        "consumers",
        {name: _changed_scalars(each, DeclaredConsumer(owner="")) for name, each in contract.consumers.items()},
    )
    lines += _block(
        "sources", {name: _changed_scalars(each, DeclaredSource()) for name, each in contract.declared_sources.items()}
    )
    psi, rates = contract.thresholds, contract.rate_thresholds
    lines.append("thresholds:")
    lines.append(f"  psi: {flow_map({key: number_scalar(getattr(psi, key)) for key in psi.__struct_fields__})}")
    lines.append(f"  rates: {flow_map({key: number_scalar(getattr(rates, key)) for key in rates.__struct_fields__})}")
    promises = _changed_scalars(contract.slo, Slo(performance=contract.slo.performance, in_range=contract.slo.in_range))
    for key, targets in (("performance", contract.slo.performance), ("in_range", contract.slo.in_range)):
        if targets:
            promises[key] = _numbers(targets)
    if promises:
        lines.append(f"slo: {flow_map(promises)}")
    alerts = alert_settings(contract.alerts)
    rules = alerts.pop("rules", {})
    if alerts or rules:
        lines.append("alerts:")
        lines += [f"  {key}: {_nested(value)}" for key, value in alerts.items()]
        settings = {name: {key: _nested(value) for key, value in rule.items()} for name, rule in rules.items()}
        lines += [f"  {line}" for line in _block("rules", settings)]
    columns = _changed_scalars(contract.columns, Columns())
    if columns:
        named = {key.removesuffix("_"): name for key, name in columns.items()}
        lines.append(f"columns: {flow_map(named)}")
    if contract.ignored:
        lines.append("ignored:")
        lines += [f"  {text_scalar(name)}: {text_scalar(reason)}" for name, reason in contract.ignored.items()]
    return "\n".join(lines) + "\n"


def _arm_settings(arms: Arms) -> dict[str, str]:
    changed = _changed_scalars(arms, Arms(shares=arms.shares, margins=arms.margins))
    margins = {"margins": _numbers(arms.margins)} if arms.margins else {}
    return {"shares": _numbers(arms.shares), **changed, **margins}


def _shadow_settings(shadow: ShadowTest) -> dict[str, str]:
    maps = {"margins": shadow.margins, "prices": shadow.prices, "candidate_prices": shadow.candidate_prices}
    written = {key: _numbers(values) for key, values in maps.items() if values or key == "margins"}
    default = msgspec.structs.replace(
        ShadowTest(candidate=shadow.candidate, of=shadow.of, margins=shadow.margins),
        prices=shadow.prices,
        candidate_prices=shadow.candidate_prices,
    )
    versions = {"candidate": text_scalar(shadow.candidate), "of": text_scalar(shadow.of)}
    return versions | written | _changed_scalars(shadow, default)


def _text_settings(text: Text) -> dict[str, str]:
    changed = _changed_scalars(text, Text(languages=text.languages))
    languages = {"languages": flow_list(map(text_scalar, text.languages))} if text.languages else {}
    return {**changed, **languages}


def _rollback_settings(rollback: Rollback) -> dict[str, str]:
    changed = _changed_scalars(rollback, Rollback(prompt=rollback.prompt, margins=rollback.margins))
    return {"prompt": text_scalar(rollback.prompt), "margins": _numbers(rollback.margins), **changed}


def _price_settings(price: TokenPrice) -> dict[str, str]:
    changed = _changed_scalars(price, TokenPrice(version=""))
    return {"from" if name == "since" else name: value for name, value in changed.items()}


def _numbers(values: Mapping[str, float]) -> str:
    return flow_map({text_scalar(name): number_scalar(value) for name, value in values.items()})


def _fallback_settings(fallback: Fallback) -> dict[str, str]:
    default = Fallback()
    settings = {} if fallback.rules == default.rules else {"rules": flow_list(map(text_scalar, fallback.rules))}
    for key, value, usual in (
        ("hold", fallback.hold_s, default.hold_s),
        ("recover", fallback.recover_s, default.recover_s),
    ):
        if value != usual:
            settings[key] = duration_scalar(value)
    if fallback.when_unknown != default.when_unknown:
        settings["when_unknown"] = fallback.when_unknown
    return settings


def _changed_scalars(struct: msgspec.Struct, default: msgspec.Struct) -> dict[str, str]:
    """Write the members that differ from the default, as YAML scalars."""
    values = {name: getattr(struct, name) for name in struct.__struct_fields__}
    return {name: _scalar(value) for name, value in values.items() if value != getattr(default, name)}


def _scalar(value: str | float | tuple[str, ...]) -> str:
    if isinstance(value, tuple):
        return flow_list(map(text_scalar, value))
    if isinstance(value, bool):
        return flag_scalar(value)
    return text_scalar(value) if isinstance(value, str) else number_scalar(value)


def _nested(value: str | Mapping[str, str]) -> str:
    return value if isinstance(value, str) else flow_map(value)


def _field_settings(field: Field) -> dict[str, str]:
    settings: dict[str, str] = {"type": field.type}
    default = Field(name=field.name, type=field.type, source=default_source(field.name))
    if field.source != default.source:
        settings["from"] = text_scalar(field.source)
    if field.low is not None or field.high is not None:
        settings["range"] = flow_list((number_scalar(field.low), number_scalar(field.high)))
    if field.critical != default.critical:
        settings["critical"] = flag_scalar(field.critical)
    if field.nulls != default.nulls:
        settings["nulls"] = field.nulls
    if field.weight != default.weight:
        settings["weight"] = number_scalar(field.weight)
    if field.unit:
        settings["unit"] = text_scalar(field.unit)
    if field.sketch != default.sketch:
        settings["sketch"] = field.sketch
    if field.pii != default.pii:
        settings["pii"] = field.pii
    if field.policy != default.policy:
        settings["policy"] = field.policy
    if field.description:
        settings["description"] = text_scalar(field.description)
    return settings


def _slice_settings(dimension: Slice, fields: tuple[Field, ...]) -> dict[str, str]:
    settings = {}
    default = Slice(name=dimension.name, source=default_slice_source(dimension.name, fields))
    if dimension.source != default.source:
        settings["from"] = text_scalar(dimension.source)
    if dimension.top != default.top:
        settings["top"] = str(dimension.top)
    if dimension.values:
        settings["values"] = flow_list(map(text_scalar, dimension.values))
    if dimension.sketches:
        settings["sketches"] = flow_list(map(text_scalar, dimension.sketches))
    return settings


def _label_settings(label: LabelSpec) -> dict[str, str]:
    settings: dict[str, str] = {"type": label.type}
    default = LabelSpec(type=label.type)
    if isinstance(label.positive, bool):
        settings["positive"] = flag_scalar(label.positive)
    elif label.positive is not None:
        settings["positive"] = text_scalar(label.positive)
    if label.negative is not None:
        settings["negative"] = text_scalar(label.negative)
    if label.threshold != default.threshold:
        settings["threshold"] = number_scalar(label.threshold)
    if label.classes:
        settings["classes"] = flow_list(map(text_scalar, label.classes))
    if label.horizon_s != default.horizon_s:
        settings["horizon"] = duration_scalar(label.horizon_s)
    if label.mature != default.mature:
        settings["mature"] = number_scalar(label.mature)
    return settings


def _block(key: str, entries: Mapping[str, dict[str, str]]) -> list[str]:
    """Write a map of maps with an entry per line; an entry that is too long is written over several lines."""
    lines = [f"{key}:"] if entries else []
    for name, settings in entries.items():
        line = f"  {text_scalar(name)}: {flow_map(settings)}"
        if len(line) <= LINE_CHARS:
            lines.append(line)
        else:
            lines.append(f"  {text_scalar(name)}:")
            lines += [f"    {setting}: {value}" for setting, value in settings.items()]
    return lines


def _raw(share: float) -> str:
    return {0.0: "none", 1.0: "all"}.get(share) or flow_map({"share": number_scalar(share)})
