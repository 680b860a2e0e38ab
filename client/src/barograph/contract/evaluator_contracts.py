"""The contracts of evaluators' models, derived from that of the answering model.

An evaluation is a prediction of the model `MODEL.EVALUATOR`.
"""

from __future__ import annotations

import msgspec

from barograph.contract import Contract, Field, LabelSpec, Rollback
from barograph.contract.alerts import AlertRule, Alerts
from barograph.contract.evaluators import FAULTY, SOUND, Evaluator


def evaluator_model(model: str, evaluator: str) -> str:
    """Return the name of the model that evaluations belong to."""
    return f"{model}.{evaluator}"


def evaluator_contracts(contract: Contract) -> list[Contract]:
    """Derive the contracts of a model's evaluators, in their order.

    Evaluations have the class `faulty` or `sound`, and labels of people are one of the two. Times, people and arms are
    those of the contract itself.
    """
    return [_contract(contract, name, evaluator) for name, evaluator in contract.evaluators.items()]


def _rollback(contract: Contract, name: str) -> Rollback | None:
    """Return the section for the criterion that has the evaluator's name; None if there is no such margin."""
    rollback = contract.rollback
    if rollback is None or name not in rollback.margins:
        return None
    n_criteria = rollback.criteria or len(rollback.margins)
    return msgspec.structs.replace(rollback, margins={"faulty": rollback.margins[name]}, criteria=n_criteria)


def _contract(contract: Contract, name: str, evaluator: Evaluator) -> Contract:
    if evaluator.check:
        what = f"the check {evaluator.check}"
    elif evaluator.judge:
        what = f"a judge with the rubric {evaluator.judge}"
    else:
        what = f"self-consistency with {evaluator.consistency} further answers"
    return Contract(
        model=evaluator_model(contract.model, name),
        description=f"Whether answers of {contract.model} are faulty, by {what}. Derived from that contract.",
        team=contract.team,
        owners=contract.owners,
        route=contract.route,
        timezone=contract.timezone,
        pane_s=contract.pane_s,
        lateness_s=contract.lateness_s,
        out_of_order_s=contract.out_of_order_s,
        windows=contract.windows,
        fields=(Field(name="class", type="category", source="class"),),
        label=LabelSpec(type="bool", positive=FAULTY, negative=SOUND),
        arms=None if contract.arms is None else msgspec.structs.replace(contract.arms, margins={}),
        rollback=_rollback(contract, name),
        # An evaluator that fails, or stops, is work for the next day: answers are served as before.
        alerts=Alerts(rules={rule: AlertRule(severity="ticket") for rule in ("errors", "silence")}),
    )
