"""The model of a drill: the fields, baseline, rules and fallback of the model, under another name."""

import msgspec
from barograph.contract import Contract, Rollback

from barograph_server.drills.errors import DrillError
from barograph_server.sketches.baseline.baseline import Baseline
from barograph_server.warehouse.queries import PREFIX, is_drill


def drill_name(model: str, drill_id: str) -> str:
    if is_drill(model):
        raise DrillError(f"{model} is the model of a drill; run the drill on the model itself.")
    return f"{PREFIX}{model}.{drill_id}"


def run_of(model: str) -> str:
    """Return the identifier of the run of a drill's model; the drills of a suite and their control share it."""
    return model.rpartition(".")[2].partition("-")[0]


def derive_contract(contract: Contract, name: str, route: str | None = None) -> Contract:
    """Return the contract of a drill.

    Recorded values are already protected as `pii` says, so they are published as they are. All raw events are stored,
    because labels are joined to them. A candidate has no predictions in a drill, and text is not evaluated.

    Args:
        route: replaces all routes; None keeps them.
    """
    fields = tuple(
        field if field.pii == "drop" else msgspec.structs.replace(field, pii="keep") for field in contract.fields
    )
    derived = msgspec.structs.replace(
        contract,
        model=name,
        fields=fields,
        raw_share=1.0,
        shadow=None,
        text=None,
        evaluators={},
        rollback=_own_rollback(contract),
    )
    if route is None:
        return derived
    rules = {rule: msgspec.structs.replace(each, route=None) for rule, each in contract.alerts.rules.items()}
    return msgspec.structs.replace(derived, route=route, alerts=msgspec.structs.replace(contract.alerts, rules=rules))


def _own_rollback(contract: Contract) -> Rollback | None:
    """Return the section without the criteria of evaluators, which a drill does not run; None if no other is left."""
    if contract.rollback is None:
        return None
    margins = {name: margin for name, margin in contract.rollback.margins.items() if name not in contract.evaluators}
    return msgspec.structs.replace(contract.rollback, margins=margins) if margins else None


def derive_baseline(baseline: Baseline, name: str) -> Baseline:
    """Return the baseline under the name of the drill's model."""
    return msgspec.structs.replace(baseline, model=name)
