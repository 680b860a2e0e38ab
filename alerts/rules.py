"""Rules of contracts, checked against the routes and mute timings of the installation."""

from collections.abc import Iterable

from barograph.contract import Contract

from barograph_server.alerts.rule import Rule
from barograph_server.alerts.settings import AlertsError, AlertSettings
from barograph_server.alerts.templates import contract_rules, guard_rule, processor_rules


def rules_for(contracts: Iterable[Contract], settings: AlertSettings) -> list[Rule]:
    """Generate the rules of all models, ordered by model, and those of the pipeline.

    Raises:
        AlertsError: contracts name routes or mute timings that the installation does not define; the message lists all.
    """
    by_model = sorted(contracts, key=lambda contract: contract.model)
    problems = [problem for contract in by_model for problem in _problems(contract, settings)]
    if problems:
        raise AlertsError("\n".join(problems))
    rules = [rule for contract in by_model for rule in rules_of(contract, settings)]
    return [*rules, *processor_rules(settings), guard_rule(settings)]


def rules_of(contract: Contract, settings: AlertSettings) -> list[Rule]:
    """Generate the rules of one contract, unchecked."""
    return list(contract_rules(contract, settings))


def _problems(contract: Contract, settings: AlertSettings) -> Iterable[str]:
    routes = {"route": contract.route}
    for name, rule in contract.alerts.rules.items():
        if rule.route:
            routes[f"alerts.rules.{name}.route"] = rule.route
    for key, route in routes.items():
        try:
            settings.route(route)
        except AlertsError as error:
            yield f"contract {contract.model!r}: {key}: {error}"
    for name in contract.alerts.mute:
        if settings.configured and name not in settings.mute_timings:
            there = ", ".join(settings.mute_timings) or "none"
            yield (
                f"contract {contract.model!r}: alerts.mute: the mute timing {name!r} is not defined; defined are "
                f'{there}; add [alerts.mute_timings."{name}"] with weekdays and times in the settings'
            )
