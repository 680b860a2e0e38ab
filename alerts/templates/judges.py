"""The rule on judges with anchors."""

from __future__ import annotations

from collections.abc import Iterator

from barograph_server.alerts.rule import Rule
from barograph_server.alerts.templates.factory import RuleFactory
from barograph_server.alerts.text import LabelRef
from barograph_server.dashboards.uids import panel_link
from barograph_server.warehouse.signals.judges import judge_findings

JUDGES_EVERY_S = 600
"""Shortest evaluation interval: judges evaluate their anchors every few hours."""


def judge_rules(factory: RuleFactory) -> Iterator[Rule]:
    """Yield the rule on the judges of a contract that have anchors."""
    contract = factory.contract
    judges = [name for name, evaluator in contract.evaluators.items() if evaluator.anchors]
    if not judges:
        return
    yield from factory.rule(
        "judge-drift",
        "ticket",
        headline="a judge does not judge as at its release",
        summary=("The judge ", LabelRef("finding"), "."),
        description=(
            "A judge that has drifted finds fewer right verdicts on its frozen anchors than at its release; of judges "
            "without drift, at most 2 % are ever reported. One that has used up its bank is not tested any more. "
            "Clears with the bank of a changed judge, or with further runs of the bank."
        ),
        signal=judge_findings(contract.model, judges),
        about="performance",
        form="number",
        has_bounds=False,
        clear=0.5,
        every_s=JUDGES_EVERY_S,
        panel=panel_link("llm", "fault_rates"),
    )
