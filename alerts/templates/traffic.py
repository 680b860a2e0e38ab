"""Rules on traffic and on the pipeline that counts it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from alerts.rule import Rule
from alerts.settings import AlertSettings
from alerts.templates.common import INTERVAL, Common
from alerts.text import Label, Number, duration
from dashboards.uids import DASHBOARDS, panel_link
from warehouse.signals.pipeline import processor_age
from warehouse.signals.verdicts import loss, verdict_age
from warehouse.signals.volume import broken_share, silence

PROCESSORS = ("sketcher", "recorder", "monitor", "scorer")
PROCESSOR_GONE_S = 120.0
"""A processor reports every ten seconds; after two minutes nobody is there who starts it again."""
LOSS_LINE = 0.01


def _broken(
    common: Common, name: Literal["latency", "errors"], default: float, what: str, panel: str
) -> Iterator[Rule]:
    line, clear = common.line(name, default)
    _, short = common.windows(name)
    yield from common.rule(
        name,
        "page",
        headline=f"too many predictions {'fail' if name == 'errors' else f'are {what}'}",
        summary=(
            *(Number("A", "percent"), *INTERVAL["percent"], f" of predictions are {what}; "),
            f"{line:.4g} of all may be.",
        ),
        description=(
            f"In the last {short.name} more predictions are {what} than the contract allows ({line:.3%}), beyond "
            f"chance; it clears below {clear:.3%}."
        ),
        signal=broken_share(common.contract.model, name, short.length_s, common.pane, line),
        about="volume",
        form="percent",
        has_bounds=True,
        clear=clear,
        panel=panel_link("model", panel),
    )


def traffic_rules(common: Common) -> Iterator[Rule]:
    """Broken promises of latency and errors, and silence."""
    slo = common.contract.slo
    slow = None if slo.latency_share is None else round(1 - slo.latency_share, 12)
    if slo.latency_ms is not None and (slow or common.said("latency").threshold):
        yield from _broken(common, "latency", slow or 0.0, f"slower than {slo.latency_ms:g} ms", "latency")
    failed = common.contract.rate_thresholds.major if not slo.error_rate else slo.error_rate
    yield from _broken(common, "errors", failed, "failed", "errors")
    at_least_s = common.said("silence").at_least_s or max(600, 2 * common.contract.pane_s)
    yield from common.rule(
        "silence",
        "page",
        headline="no predictions",
        summary=(
            "Nothing has come for ",
            Number("B", "duration"),
            "; usual is at most ",
            Number("C", "duration"),
            ".",
        ),
        description=(
            "No prediction has come for longer than the second longest pause of fifteen days, and for more than "
            f"{duration(at_least_s)}. It also fires where nothing can be asked of the model at all."
        ),
        signal=silence(common.contract.model, common.pane, at_least_s),
        about="volume",
        form="number",
        has_bounds=True,
        clear=1.0,
        no_data="Alerting",
        panel=panel_link("model", "requests"),
    )


def pipeline_rules(common: Common) -> Iterator[Rule]:
    """Events that were lost, and verdicts that are late."""
    line, clear = common.line("completeness", LOSS_LINE)
    _, short = common.windows("completeness")
    said = common.said("completeness")
    platform: dict[str, Any] = {"about": "pipeline", "team": common.settings.platform_team}
    yield from common.rule(
        "completeness",
        "ticket",
        headline="events were lost",
        summary=(
            Number("A", "percent"),
            f" of the events of the last {short.name} were lost before they were counted.",
        ),
        description=(
            f"More than {line:.3%} of the source offsets of the last {short.name} are in no pane. Verdicts on "
            "these windows are about what is left."
        ),
        signal=loss(common.contract.model, common.of(short), common.pane, line),
        form="percent",
        has_bounds=False,
        clear=clear,
        panel=panel_link("model", "completeness"),
        **platform | {"route": said.route or common.settings.platform},
    )
    hop = min(common.contract.windows, key=lambda window: window.hop_s)
    at_least_s = common.said("pipeline-lag").at_least_s or 900
    due_s = hop.hop_s + common.pane.sealed_after_s + common.contract.pane_s + at_least_s
    yield from common.rule(
        "pipeline-lag",
        "page",
        headline="verdicts are late",
        summary=("The newest verdict is ", Number("A", "duration"), f" old; due is {duration(due_s)} at most."),
        description=(
            f"No window has been judged for {duration(at_least_s)} longer than it takes: what other rules say of "
            "the model is about the past."
        ),
        signal=verdict_age(common.contract.model, common.of(hop), float(due_s)),
        form="duration",
        has_bounds=False,
        clear=float(due_s),
        panel=panel_link("pipeline", "sealed_age"),
        **platform | {"route": common.said("pipeline-lag").route or common.settings.platform},
    )


def processor_rule(settings: AlertSettings) -> Rule:
    """The rule on processors that are gone, one for the installation."""
    return Rule(
        name="processor-gone",
        model="",
        severity="page",
        team=settings.platform_team,
        route=settings.platform,
        headline="a processor is gone",
        summary=("No ", Label("kind"), " has reported for ", Number("A", "duration"), "."),
        description="Of each kind of processor one at least reports every ten seconds.",
        signal=processor_age(PROCESSORS, PROCESSOR_GONE_S),
        about="pipeline",
        form="duration",
        has_bounds=False,
        clear=PROCESSOR_GONE_S,
        for_s=60,
        keep_firing_for_s=300,
        every_s=60,
        panel=panel_link("pipeline", "silent"),
        page_path=(f"/d/{DASHBOARDS['pipeline']}",),
    )
