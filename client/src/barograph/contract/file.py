"""Reads and checks contract files.

All problems of a file are reported at once, as `FILE:LINE: problem; remedy`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from barograph.contract import (
    Arms,
    Budget,
    Columns,
    Contract,
    Deployment,
    Fallback,
    Field,
    LabelSpec,
    RateThresholds,
    Rollback,
    ShadowTest,
    Slice,
    Slo,
    Text,
    Thresholds,
    TokenPrice,
    Window,
)
from barograph.contract.alerts_section import build_alerts
from barograph.contract.check import check_failures, default_slice_source, default_source
from barograph.contract.consumers import DeclaredConsumer
from barograph.contract.dump import dump_contract
from barograph.contract.evaluators_section import build_evaluators
from barograph.contract.keys import CONTRACT, FORMAT_VERSION
from barograph.contract.kinds import Diagnostics, IntegerKind, Path, Unreadable
from barograph.contract.problems import ContractError, Problem
from barograph.contract.upstream import DeclaredSource
from barograph.contract.yaml_nodes import MappingNode, ScalarNode
from barograph.contract.yaml_tree import read_file, read_tree

__all__ = ["ContractError", "dump_contract", "load_contract", "parse_contract"]


def load_contract(path: str | os.PathLike[str]) -> Contract:
    """Read and check a contract file.

    Args:
        path: The file.

    Raises:
        ContractError: The file cannot be read or is not a valid contract; `problems` lists every problem.
    """
    return parse_contract(read_file(path, "a contract"), os.fspath(path))


def parse_contract(text: str | bytes, name: str = "contract.yaml") -> Contract:
    """Read and check the text of a contract file.

    Args:
        text: The text.
        name: The file's name in messages.

    Raises:
        ContractError: The text is not a valid contract; `problems` lists every problem in order of lines.
    """
    tree = read_tree(text, name)
    if not isinstance(tree, MappingNode):
        message = f"this is not a contract; begin with contract: {FORMAT_VERSION} and model: NAME"
        raise ContractError([Problem(name, 1, message)])
    _check_format(tree, name)
    diagnostics = Diagnostics(name)
    contract = _build(CONTRACT.read(tree, (), diagnostics))
    for failure in check_failures(contract):
        if not _is_void((failure.path, *failure.needs), diagnostics.failed):
            diagnostics.fail(failure.path, _line((failure.path, *failure.needs), diagnostics), failure.message)
    if diagnostics.problems:
        raise ContractError(sorted(diagnostics.problems, key=lambda problem: problem.line))
    return contract


def _check_format(tree: MappingNode, name: str) -> None:
    """Reject a format version that this code does not know: it cannot check the rest of such a file."""
    for key, value in tree.pairs:
        if key.text != "contract" or not isinstance(value, ScalarNode):
            continue
        try:
            version = IntegerKind(1, 10_000).read(value, (), Diagnostics(name))
        except Unreadable:
            return  # reported with the other problems
        if version != FORMAT_VERSION:
            remedy = f"write {FORMAT_VERSION}, or install a newer barograph"
            message = f"contract: the format {version} is unknown; {remedy}"
            raise ContractError([Problem(name, value.line, message)])


def _is_void(paths: tuple[Path, ...], failed: set[Path]) -> bool:
    """Whether a failed check depends on a value that is unreadable, or that contains or is part of one."""
    return any(bad[: len(path)] == path or path[: len(bad)] == bad for path in paths for bad in failed)


def _line(paths: tuple[Path, ...], diagnostics: Diagnostics) -> int:
    """Return the line to report: of the first path that is in the file, else of the first path's nearest parent."""
    for path in paths:
        if path in diagnostics.lines:
            return diagnostics.lines[path]
    path = paths[0]
    while path not in diagnostics.lines and path:
        path = path[:-1]
    return diagnostics.lines.get(path, 1)


def _build(values: Mapping[str, Any]) -> Contract:
    """Build a contract from the values that were read; unreadable values get their defaults."""
    settings: dict[str, Any] = {
        key: values[key]
        for key in (
            "description",
            "team",
            "owners",
            "route",
            "timezone",
            "slice_min_n",
            "season",
            "serving",
            "promotion",
            "suites",
            "user",
            "caller",
            "ignored",
        )
        if key in values
    }
    for key in ("pane", "lateness", "out_of_order"):
        if key in values:
            settings[f"{key}_s"] = values[key]
    if "windows" in values:
        settings["windows"] = tuple(
            Window(window.get("length", 0), window.get("hop", 0), window.get("last", 0)) for window in values["windows"]
        )
    if "raw" in values:
        settings["raw_share"] = values["raw"]
    fields = tuple(_field(name, field) for name, field in values.get("fields", {}).items())
    if "label" in values:
        settings["label"] = _label(values["label"])
    if "columns" in values:
        settings["columns"] = Columns(
            **{f"{key}_" if key == "class" else key: name for key, name in values["columns"].items()}
        )
    if "arms" in values:
        settings["arms"] = Arms(**{"shares": {}} | values["arms"])
    if "shadow" in values:
        settings["shadow"] = ShadowTest(**{"candidate": "", "of": "", "margins": {}} | values["shadow"])
    if "text" in values:
        settings["text"] = Text(**values["text"])
    if "rollback" in values:
        settings["rollback"] = Rollback(**{"prompt": "", "margins": {}} | values["rollback"])
    if "fallback" in values:
        settings["fallback"] = Fallback(
            **{f"{key}_s" if key in ("hold", "recover") else key: value for key, value in values["fallback"].items()}
        )
    if "prices" in values:
        settings["prices"] = tuple(map(_price, values["prices"]))
    if "budget" in values:
        settings["budget"] = Budget(**values["budget"])
    if "deployments" in values:
        settings["deployments"] = {name: Deployment(**facts) for name, facts in values["deployments"].items()}
    if "consumers" in values:
        settings["consumers"] = {
            name: DeclaredConsumer(**{"owner": "", **each, "fields": tuple(each.get("fields", ()))})
            for name, each in values["consumers"].items()
        }
    if "sources" in values:
        settings["declared_sources"] = {
            name: DeclaredSource(**{**each, "fields": tuple(each.get("fields", ()))})
            for name, each in values["sources"].items()
        }
    if "evaluators" in values:
        settings["evaluators"] = build_evaluators(values["evaluators"])
    thresholds = values.get("thresholds", {})
    return Contract(
        model=values.get("model", "model"),
        fields=fields,
        slices=tuple(_slice(name, dimension, fields) for name, dimension in values.get("slices", {}).items()),
        thresholds=Thresholds(**thresholds.get("psi", {})),
        rate_thresholds=RateThresholds(**thresholds.get("rates", {})),
        slo=Slo(**values.get("slo", {})),
        alerts=build_alerts(values.get("alerts", {})),
        **settings,
    )


def _field(name: str, values: Mapping[str, Any]) -> Field:
    settings = {key: value for key, value in values.items() if key not in ("from", "range")}
    low, high = values.get("range", (None, None))
    settings.setdefault("type", "float")
    return Field(name=name, source=values.get("from", default_source(name)), low=low, high=high, **settings)


def _price(values: Mapping[str, Any]) -> TokenPrice:
    settings = {"since" if key == "from" else key: value for key, value in values.items()}
    return TokenPrice(**{"version": ""} | settings)


def _label(values: Mapping[str, Any]) -> LabelSpec:
    settings = {key: value for key, value in values.items() if key not in ("type", "horizon")}
    if "horizon" in values:
        settings["horizon_s"] = values["horizon"]
    return LabelSpec(type=values.get("type", "bool"), **settings)


def _slice(name: str, values: Mapping[str, Any], fields: tuple[Field, ...]) -> Slice:
    settings = {key: value for key, value in values.items() if key != "from"}
    return Slice(name=name, source=values.get("from", default_slice_source(name, fields)), **settings)
