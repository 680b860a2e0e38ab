"""Policies of the gate: for each suite, how much worse a candidate may be, as a YAML file."""

from pathlib import Path
from typing import Annotated

import msgspec
from barograph.contract.kinds import IntegerKind, Key, MapKind, RecordKind
from barograph.contract.problems import ContractError, Problem
from barograph.contract.sections import PositiveShare, SectionKind, Share
from barograph.contract.yaml_nodes import MappingNode
from barograph.contract.yaml_tree import read_tree

from barograph_server.contracts import read_policy_text
from barograph_server.sketches.comparison.paired_items import least_items_to_accept
from barograph_server.warehouse.configuration import read_value

MAX_ITEMS = 1_000_000


class SuiteRules(msgspec.Struct, frozen=True):
    """What a candidate must fulfil in one suite."""

    margin: Annotated[PositiveShare, "How much lower its mean score may be.", "0.1"]
    items: Annotated[int, IntegerKind(1, MAX_ITEMS), "The fewest items that both runs have.", "50"]
    missing: Annotated[
        Share, "The largest share of the accepted run's items, and of the candidate's answers, without a score of it."
    ] = 0.0


_SUITES = "suites"
_POLICY = RecordKind(
    (Key(_SUITES, MapKind(SectionKind(SuiteRules)), "The rules of each suite.", "a suite", required=True),)
)


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
    policy: dict[str, SuiteRules] = read_value(_POLICY, tree, (), str(path))[_SUITES]
    if not policy:
        raise ContractError([Problem(str(path), 1, "names no suite; write suites: {NAME: {margin: 0.1, items: 50}}")])
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
    suites = next(node for key, node in tree.pairs if key.text == _SUITES)
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
