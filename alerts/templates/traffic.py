"""Rules on traffic, on the pipeline, on its readers, and on drills of it."""

from collections.abc import Iterator
from typing import Any, Literal

from barograph.contract import format_duration

from barograph_server.alerts.rule import Rule, Severity, texts
from barograph_server.alerts.settings import AlertSettings
from barograph_server.alerts.templates.factory import DAY_S, IN_WINDOW, RuleFactory, last_part
from barograph_server.alerts.text import LabelRef, NumberRef, Text, duration, in_url, percent
from barograph_server.dashboards.uids import panel_link
from barograph_server.warehouse.signals.drills import drills_overdue
from barograph_server.warehouse.signals.pipeline import DEFERRABLE, GONE_S, URGENT, processor_age, record_age
from barograph_server.warehouse.signals.readers import undeclared_readers
from barograph_server.warehouse.signals.signal import Signal
from barograph_server.warehouse.signals.verdicts import loss, verdict_age
from barograph_server.warehouse.signals.volume import broken_share, out_of_range, silence

GUARD_SILENT_S = 180.0
"""The guard stores the state of each model every minute."""
LOSS_THRESHOLD = 0.01
READERS_EVERY_S = 1800
"""Shortest evaluation interval: readers are observed once a day."""
DRILLS_OVERDUE_S = 30 * DAY_S
"""Default of `at_least` of the rule drills-overdue."""
DRILLS_EVERY_S = 1800


def _broken(
    factory: RuleFactory, name: Literal["latency", "errors"], default: float, what: str, panel: str
) -> Iterator[Rule]:
    threshold, clear = factory.threshold(name, default)
    _, short = factory.windows(name)
    length = format_duration(short.length_s)
    yield from factory.rule(
        name,
        "page",
        headline=f"too many predictions {what}",
        summary=(
            NumberRef("E", "percent"),
            *(f" of predictions {what}", *IN_WINDOW, f", over all versions; the threshold is {percent(threshold)}."),
        ),
        description=(
            f"In the last {length} more predictions {what} than the contract allows ({percent(threshold)}), by a "
            f"statistically significant margin. Clears below {percent(clear)}."
        ),
        signal=broken_share(factory.contract.model, name, short.length_s, factory.pane, threshold),
        about="volume",
        form="percent",
        clear=clear,
        window_s=short.length_s,
        panel=panel_link("model", panel),
    )


def _out_of_range(factory: RuleFactory, name: str, allowed: float) -> Iterator[Rule]:
    (field,) = (each for each in factory.contract.fields if each.name == name)
    _, short = factory.windows("field-slo")
    bounds = " to ".join("any" if each is None else f"{each:g}" for each in (field.low, field.high))
    yield from factory.rule(
        "field-slo",
        factory.severity("field-slo", field),
        part=name,
        headline=f"too many values of {name} are out of range",
        summary=(
            *(NumberRef("E", "percent"), " of the values of ", LabelRef("field")),
            *(*IN_WINDOW, f", over all versions, are not in the range {bounds}; the SLO allows {percent(allowed)}."),
        ),
        description=(
            f"In the {last_part(short)} more values of {name} are out of the range {bounds} than the contract allows "
            f"({percent(allowed)}), by a statistically significant margin. Nulls do not count."
        ),
        signal=out_of_range(factory.contract.model, name, short.length_s, factory.pane, allowed),
        about="outputs",
        form="percent",
        clear=round(allowed * factory.clear_share, 12),
        window_s=short.length_s,
        panel=panel_link("model", "rates"),
    )


def traffic_rules(factory: RuleFactory) -> Iterator[Rule]:
    """Rules on the SLOs of latency, errors and fields, and on silence."""
    slo = factory.contract.slo
    slow = None if slo.latency_share is None else round(1 - slo.latency_share, 12)
    if slo.latency_ms is not None and (slow or factory.override("latency").threshold):
        yield from _broken(factory, "latency", slow or 0.0, f"are slower than {slo.latency_ms:g} ms", "latency")
    failed = factory.contract.rate_thresholds.major if not slo.error_rate else slo.error_rate
    yield from _broken(factory, "errors", failed, "fail", "errors")
    for name, share in slo.in_range.items():
        yield from _out_of_range(factory, name, round(1 - share, 12))
    at_least_s = factory.override("silence").at_least_s or max(600, 2 * factory.contract.pane_s)
    yield from factory.rule(
        "silence",
        "page",
        headline="no predictions",
        summary=(
            *("No prediction for ", NumberRef("B", "duration")),
            *("; the usual maximum is ", NumberRef("C", "duration"), "."),
        ),
        description=(
            "No prediction has arrived for longer than the second longest gap of the last 15 days, and for more than "
            f"{duration(at_least_s)}. Also fires if the query returns no data."
        ),
        signal=silence(factory.contract.model, factory.pane, at_least_s),
        about="volume",
        form="number",
        clear=1.0,
        no_data="Alerting",
        panel=panel_link("model", "requests"),
    )


def pipeline_rules(factory: RuleFactory) -> Iterator[Rule]:
    """Rules on lost events and late verdicts."""
    threshold, clear = factory.threshold("completeness", LOSS_THRESHOLD)
    _, short = factory.windows("completeness")
    override = factory.override("completeness")
    platform: dict[str, Any] = {"about": "pipeline", "team": factory.settings.platform_team}
    yield from factory.rule(
        "completeness",
        "ticket",
        headline="events were lost",
        summary=(
            NumberRef("A", "percent"),
            f" of the events of the {last_part(short)} were lost before they were counted.",
        ),
        description=(
            f"More than {percent(threshold)} of the source offsets of the {last_part(short)} are in no pane. Verdicts "
            "on these windows cover only the remaining events."
        ),
        signal=loss(factory.contract.model, factory.of(short), factory.pane, threshold),
        form="percent",
        has_bounds=False,
        clear=clear,
        window_s=short.length_s,
        panel=panel_link("model", "completeness"),
        **platform | {"route": override.route or factory.settings.platform},
    )
    hop = min(factory.contract.windows, key=lambda window: window.hop_s)
    at_least_s = factory.override("pipeline-lag").at_least_s or 900
    due_s = hop.hop_s + factory.pane.sealed_after_s + factory.contract.pane_s + at_least_s
    yield from factory.rule(
        "pipeline-lag",
        "page",
        headline="verdicts are late",
        summary=("The newest verdict is ", NumberRef("A", "duration"), f" old; the maximum is {duration(due_s)}."),
        description=(
            f"No window has been judged for {duration(at_least_s)} longer than expected. Other rules of this model "
            "use old data."
        ),
        signal=verdict_age(factory.contract.model, factory.of(hop), float(due_s)),
        form="duration",
        has_bounds=False,
        clear=float(due_s),
        panel=panel_link("pipeline", "sealed_age"),
        **platform | {"route": factory.override("pipeline-lag").route or factory.settings.platform},
    )


def processor_rules(settings: AlertSettings) -> Iterator[Rule]:
    """The rules on missing processors, of each severity one per installation."""
    variants: tuple[tuple[Severity, str, tuple[str, ...]], ...] = (
        ("page", "a processor is gone", URGENT),
        ("ticket", "a processor that can wait is gone", DEFERRABLE),
    )
    for severity, headline, kinds in variants:
        yield _installation_rule(
            settings,
            "processor-gone",
            GONE_S,
            severity=severity,
            headline=headline,
            summary=("No ", LabelRef("kind"), " has reported for ", NumberRef("A", "duration"), "."),
            signal=processor_age(kinds, GONE_S),
        )


def guard_rule(settings: AlertSettings) -> Rule:
    """The rule on a silent guard; one per installation. It watches what the guard publishes, not its process."""
    return _installation_rule(
        settings,
        "guard-silent",
        GUARD_SILENT_S,
        headline="the guard is silent",
        summary=("The guard has published no state of a model for ", NumberRef("A", "duration"), "."),
        signal=record_age(GUARD_SILENT_S),
    )


def _installation_rule(
    settings: AlertSettings,
    name: str,
    silent_s: float,
    *,
    severity: Severity = "page",
    headline: str,
    summary: Text,
    signal: Signal,
) -> Rule:
    """Return the rule that tells the platform team if a part of the installation is silent for `silent_s` seconds."""
    return Rule(
        name=name,
        model="",
        severity=severity,
        team=settings.platform_team,
        route=settings.platform,
        headline=headline,
        summary=summary,
        description=texts(name)[-1],
        signal=signal,
        about="pipeline",
        form="duration",
        has_bounds=False,
        clear=silent_s,
        for_s=60,
        keep_firing_for_s=300,
        every_s=60,
        panel=panel_link("pipeline", "silent"),
        page_query=("&from=now-3h&to=now",),
    )


def reader_rules(factory: RuleFactory) -> Iterator[Rule]:
    """Yield the rule on undeclared readers, for a contract with critical fields and declared consumers.

    Topics and tables hold all models, so a reader of them counts for each such contract.
    """
    contract = factory.contract
    if not contract.consumers or not any(field.critical for field in contract.fields):
        return
    yield from factory.rule(
        "undeclared-reader",
        "ticket",
        headline="a reader that no contract declares",
        summary=("No contract declares ", LabelRef("reader"), ", which reads topics or tables of Barograph."),
        signal=undeclared_readers(),
        about="inputs",
        form="number",
        has_bounds=False,
        clear=0.5,
        every_s=READERS_EVERY_S,
        panel=panel_link("model", "lineage"),
    )


def drill_rules(factory: RuleFactory) -> Iterator[Rule]:
    """Yield the rule on the drills of a model, if its contract has the key `alerts.rules.drills-overdue`."""
    contract, name = factory.contract, "drills-overdue"
    if name not in contract.alerts.rules:
        return
    at_least_s = factory.override(name).at_least_s or DRILLS_OVERDUE_S
    yield from factory.rule(
        name,
        "ticket",
        headline="drills are overdue",
        summary=("The drills of the model have not passed for ", NumberRef("A", "duration"), "."),
        description=(
            f"For {duration(at_least_s)} no drill has passed, or a failed drill has not been repeated with success. "
            "Nobody knows whether an incident would page. Clears when the drill passes."
        ),
        signal=drills_overdue(contract.model, name, float(at_least_s)),
        about="pipeline",
        form="duration",
        has_bounds=False,
        clear=float(at_least_s),
        every_s=DRILLS_EVERY_S,
        panel=panel_link("fleet", "drills"),
        page_query=(f"&var-model={in_url(contract.model)}&from=now-604800s&to=now",),
    )
