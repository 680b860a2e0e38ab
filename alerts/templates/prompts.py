"""The rule on arms that serve versions of a prompt."""

from collections.abc import Iterator

from barograph.contract import PREVIOUS

from barograph_server.alerts.rule import Rule
from barograph_server.alerts.templates.factory import RuleFactory
from barograph_server.alerts.text import LabelRef, NumberRef
from barograph_server.dashboards.uids import panel_link
from barograph_server.warehouse.rollouts.arm_comparisons import own_margins
from barograph_server.warehouse.signals.prompts import prompt_harm

EVERY_S = 600
"""Shortest evaluation interval: looks change by the hour."""


def prompt_rules(factory: RuleFactory) -> Iterator[Rule]:
    """Rule on the looks at the arms of the section `rollback`."""
    contract = factory.contract
    rollback, arms = contract.rollback, contract.arms
    if rollback is None or arms is None or not own_margins(rollback):
        return
    control, *others = arms.names
    target = "" if rollback.to == PREVIOUS else f" --to {rollback.to}"
    command = f"barograph prompts rollback {rollback.prompt} --label {rollback.label}{target} --reason …"
    act = (
        "The guard moves the label if `rollback_proposals` has a proposal with mode act, and if the label still points "
        "to this version and nobody has changed it since; the table `changes` has what it did."
        if rollback.mode == "act"
        else f"To roll back: `{command}`."
    )
    yield from factory.rule(
        "prompt-harm",
        factory.model_severity,
        headline="a version of a prompt is worse",
        summary=(
            LabelRef("comparison"),
            f" higher than with {control}, by ",
            *(NumberRef("B", "percent"), " to ", NumberRef("C", "percent")),
            ": at least ",
            *(NumberRef("E", "percent"), f" beyond the margin. {act}"),
        ),
        signal=prompt_harm(contract.model, control, others, tuple(own_margins(rollback))),
        about="performance",
        form="percent",
        clear=0.0,
        panel=panel_link("llm", "prompt_comparisons"),
        every_s=EVERY_S,
    )
