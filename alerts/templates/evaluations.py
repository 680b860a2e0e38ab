"""Rules on the quality of a language model's answers: rates of evaluators, people who label, and suites."""

import shlex
from collections.abc import Iterator
from typing import Any

from barograph_server.alerts.rule import Rule
from barograph_server.alerts.templates.factory import DAY_S, REASON, RuleFactory
from barograph_server.alerts.text import LabelRef, NumberRef, duration, in_url, percent
from barograph_server.dashboards.uids import panel_link
from barograph_server.warehouse.signals.evaluations import (
    LEAST_CALLS,
    judge_findings,
    missing_labels,
    rate_above_promise,
    reviewer_agreement,
    suite_regression,
    unevaluated_calls,
)

WEEK_S = 7 * DAY_S
"""Range of the linked page: the answers of a rate."""
ALPHA = 0.667
"""Default threshold of the rule reviewer-agreement: below it, labels are no basis even for tentative conclusions
(Krippendorff, Content Analysis)."""
RATES_EVERY_S = 600
"""Shortest evaluation interval of rules on rates, which are computed about once an hour."""
SUITES_EVERY_S = 1800
"""Shortest evaluation interval of rules on suites: answers are counted by the hour."""
_BY: tuple[str | LabelRef, ...] = (" according to ", LabelRef("evaluator"), " ", LabelRef("version", is_detail=True))


def evaluation_rules(factory: RuleFactory) -> Iterator[Rule]:
    """Rules on evaluators and, for contracts with text, prices or the rule's key, on suites."""
    contract = factory.contract
    keys, promises = contract.alerts.rules, {name: each.promise for name, each in contract.evaluators.items()}
    query = f"&var-model={in_url(contract.model)}&from=now-{WEEK_S}s&to=now"
    shared: dict[str, Any] = {"about": "performance", "page_query": (query,)}
    of_rates = shared | {"every_s": RATES_EVERY_S, "panel": panel_link("llm", "fault_rates")}
    for name, promise in promises.items():
        if promise is not None:
            shown = {"panel": panel_link("llm", "stored_rates")}
            yield from _promise_rule(factory, name, promise, of_rates | shown)
    labelled = [name for name, promise in promises.items() if promise is not None or "gold-labels" in keys]
    if labelled:
        yield from _labels_rule(factory, labelled, of_rates)
    if promises:
        yield from _agreement_rule(factory, list(promises), of_rates)
    is_language_model = contract.text is not None or bool(contract.prices)
    of_suites = shared | {"every_s": SUITES_EVERY_S, "panel": panel_link("llm", "suites")}
    if is_language_model or "unevaluated-version" in keys:
        yield from _unevaluated_rule(factory, of_suites)
    if is_language_model or "suite-regression" in keys:
        yield from _regression_rule(factory, of_suites)


def _promise_rule(factory: RuleFactory, name: str, promise: float, shared: dict[str, Any]) -> Iterator[Rule]:
    yield from factory.rule(
        "rate-above-promise",
        "ticket",
        part=name,
        headline=f"more faulty answers than promised by {name}",
        summary=(
            *(NumberRef("E", "percent"), " of the answers of seven days are faulty"),
            *(*_BY, f", corrected by labels of people; the promise is {percent(promise)}."),
        ),
        signal=rate_above_promise(factory.contract.model, name, promise),
        form="percent",
        clear=promise,
        **shared,
    )


def _labels_rule(factory: RuleFactory, names: list[str], shared: dict[str, Any]) -> Iterator[Rule]:
    for_s = factory.override("gold-labels").for_s
    wait_s = DAY_S if for_s is None else for_s
    yield from factory.rule(
        "gold-labels",
        "ticket",
        headline="too few labels of people",
        summary=(
            *("The rate of faulty answers according to ", LabelRef("evaluator"), " is unknown: its answers of seven "),
            *("days have ", NumberRef("B", "count"), " labels of people, and it needs ", NumberRef("C", "count")),
            *(".", REASON, f" To label: `barograph review serve --model {shlex.quote(factory.contract.model)} "),
            *("--evaluator ", LabelRef("evaluator"), " --as NAME`."),
        ),
        description=(
            f"For {duration(wait_s)}, a version of the evaluator that is in use has results of at least 50 answers of "
            "the last seven days, and too few labels for a rate. Clears when there are enough."
        ),
        signal=missing_labels(factory.contract.model, names),
        form="count",
        clear=0.5,
        for_s=wait_s,
        **shared,
    )


def _agreement_rule(factory: RuleFactory, names: list[str], shared: dict[str, Any]) -> Iterator[Rule]:
    override = factory.override("reviewer-agreement").threshold
    threshold = ALPHA if override is None else override
    yield from factory.rule(
        "reviewer-agreement",
        "ticket",
        headline="reviewers disagree",
        summary=(
            *("Labels of reviewers for ", LabelRef("evaluator"), " agree with an alpha of ", NumberRef("A", "number")),
            f"; the threshold is {threshold:g}.",
        ),
        signal=reviewer_agreement(factory.contract.model, names, threshold),
        form="number",
        clear=threshold,
        **shared,
    )


def _unevaluated_rule(factory: RuleFactory, shared: dict[str, Any]) -> Iterator[Rule]:
    threshold, clear = factory.threshold("unevaluated-version", LEAST_CALLS)
    yield from factory.rule(
        "unevaluated-version",
        "ticket",
        headline="a version serves without a run of a suite",
        summary=(
            *(LabelRef("served"), " gave ", NumberRef("A", "count"), " answers in the last day, and no suite was "),
            f"run on it; the threshold is {threshold:g}. `barograph eval run` runs one.",
        ),
        description=(
            "Other versions of the model have runs of suites in the table `eval_runs`. A version is a prompt or, if "
            "no run names one, a served model. Clears when a run is imported, or below "
            f"{clear:g} answers in a day."
        ),
        signal=unevaluated_calls(factory.contract.model, threshold),
        form="count",
        has_bounds=False,
        clear=clear,
        **shared,
    )


def _regression_rule(factory: RuleFactory, shared: dict[str, Any]) -> Iterator[Rule]:
    yield from factory.rule(
        "suite-regression",
        "ticket",
        headline="a version that serves is worse in a suite",
        summary=(
            *(LabelRef("comparison"), " has a lower mean score than the accepted run, by "),
            *(NumberRef("B", "percent"), " to ", NumberRef("C", "percent"), " (95 % interval, by item)."),
        ),
        description=(
            f"The version had at least {LEAST_CALLS} answers in a day. Its newest run of the suite is compared item by "
            "item with the run that was accepted last, as `barograph eval gate` does without a margin. Clears when the "
            "interval includes 0, or when the version no longer serves."
        ),
        signal=suite_regression(factory.contract.model),
        form="percent",
        clear=0.0,
        **shared,
    )


JUDGES_EVERY_S = 600
"""Shortest evaluation interval: judges evaluate their anchors every few hours."""


def judge_rules(factory: RuleFactory) -> Iterator[Rule]:
    contract = factory.contract
    judges = [name for name, evaluator in contract.evaluators.items() if evaluator.anchors]
    if not judges:
        return
    yield from factory.rule(
        "judge-drift",
        "ticket",
        headline="a judge does not judge as at its release",
        summary=("The judge ", LabelRef("finding"), "."),
        signal=judge_findings(contract.model, judges),
        about="performance",
        form="number",
        has_bounds=False,
        clear=0.5,
        every_s=JUDGES_EVERY_S,
        panel=panel_link("llm", "fault_rates"),
    )
