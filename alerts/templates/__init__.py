"""Templates that generate the rules of a contract."""

from collections.abc import Iterator

from barograph.contract import Contract

from barograph_server.alerts.rule import Rule
from barograph_server.alerts.settings import AlertSettings
from barograph_server.alerts.templates.costs import cost_rules
from barograph_server.alerts.templates.evaluations import evaluation_rules, judge_rules
from barograph_server.alerts.templates.factory import RuleFactory
from barograph_server.alerts.templates.fields import drift_rules, mean_rules, output_rules, rate_rules
from barograph_server.alerts.templates.labels import label_rules
from barograph_server.alerts.templates.prompts import prompt_rules
from barograph_server.alerts.templates.shadow import shadow_rules
from barograph_server.alerts.templates.traffic import (
    drill_rules,
    guard_rule,
    pipeline_rules,
    processor_rules,
    reader_rules,
    traffic_rules,
)

__all__ = ["contract_rules", "guard_rule", "processor_rules"]


def contract_rules(contract: Contract, settings: AlertSettings) -> Iterator[Rule]:
    factory = RuleFactory(contract, settings)
    templates = (
        *(drift_rules, mean_rules, rate_rules, output_rules, label_rules),
        *(traffic_rules, pipeline_rules, shadow_rules, prompt_rules, drill_rules, cost_rules),
        *(evaluation_rules, judge_rules, reader_rules),
    )
    for rules in templates:
        yield from rules(factory)
