"""Policies of the gate: for each suite, how much worse a candidate may be, as a YAML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from barograph.contract.kinds import IntegerKind, Key, MapKind, NumberKind, RecordKind
from barograph.contract.problems import ContractError, Problem
from barograph.contract.yaml_nodes import MappingNode
from barograph.contract.yaml_tree import read_tree

from barograph_server.policy_file import read_policy_text
from barograph_server.sketches.comparison.paired_items import least_items_to_accept
from barograph_server.warehouse.configuration import read_value

MAX_ITEMS = 1_000_000
SUITE_RULES = RecordKind(
    (
        Key("margin", NumberKind(0.0, 1.0, above=True), "how much lower the mean score may be", "0.1", required=True),
        Key("items", IntegerKind(1, MAX_ITEMS), "the fewest items that both runs have", "50", required=True),
        Key("missing", NumberKind(0.0, 1.0), "the largest share of items or answers without a score", "0"),
    )
)
POLICY = RecordKind((Key("suites", MapKind(SUITE_RULES), "the rules of each suite", "a suite", required=True),))


@dataclass(frozen=True, slots=True)
class SuiteRules:
    """What a candidate must fulfil in one suite."""

    margin: float
    """How much lower its mean score may be."""
    items: int
    """Fewest items that both runs must have."""
    missing: float = 0.0
    """Largest share of the accepted run's items, and of the candidate's answers, without a score of the candidate."""


def load_gate_policy(path: Path) -> dict[str, SuiteRules]:
    """Read a policy: the rules of each suite, at least one.

    Raises:
        ContractError: the text is not a valid policy; it lists every problem with its line.
    """
    tree = read_tree(read_policy_text(path), str(path))
    if not isinstance(tree, MappingNode):
        raise ContractError(
            [Problem(str(path), 1, "this is not a policy; write suites: {NAME: {margin: 0.1, items: 50}}")]
        )
    suites = read_value(POLICY, tree, (), str(path))["suites"]
    if not suites:
        raise ContractError([Problem(str(path), 1, "names no suite; write suites: {NAME: {margin: 0.1, items: 50}}")])
    policy = {name: SuiteRules(**values) for name, values in suites.items()}
    problems = [
        Problem(str(path), line, f"suites.{name}.items: {problem}")
        for name, line in _lines(tree).items()
        if (problem := _too_few_items(policy[name]))
    ]
    if problems:
        raise ContractError(problems)
    return policy


def _lines(tree: MappingNode) -> dict[str, int]:
    """Return the line of each suite of a policy whose keys and values are valid."""
    suites = next(node for key, node in tree.pairs if key.text == "suites")
    return {key.text: key.line for key, _ in suites.pairs} if isinstance(suites, MappingNode) else {}


def _too_few_items(rules: SuiteRules) -> str:
    """Name what is wrong if not even a candidate that equals the accepted run could be accepted; empty if it could."""
    least = least_items_to_accept(rules.margin, MAX_ITEMS)
    if least is None:
        return f"no number of items up to {MAX_ITEMS:,} is enough for the margin {rules.margin:g}; raise the margin"
    if rules.items >= least:
        return ""
    return (
        f"{rules.items} is too few for the margin {rules.margin:g}: a candidate that equals the accepted run in all "
        f"items would not be accepted; write {least} or more, or raise the margin"
    )
