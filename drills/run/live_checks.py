"""What a live drill needs: processors on the wall clock, time, and windows that fit into its events."""

import math

from barograph.contract import Contract

from barograph_server.alerts.rules import rules_of
from barograph_server.alerts.text import duration
from barograph_server.drills.errors import DrillError
from barograph_server.drills.faults import EventTables
from barograph_server.drills.faults.fault import epoch_ms
from barograph_server.drills.report import recovery_s
from barograph_server.drills.run.plan import DrillPlan
from barograph_server.operations.dev.processors import KINDS
from barograph_server.settings import Settings
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.operations.status import is_silent, processors

LEAD_S = 10
"""Time for planning and registration before the first event, beyond the time that processors take to read contracts."""
SETTLE_S = 300.0
"""Longest wait at the end until production's processors have read all events of the drill."""


def lead_s(settings: Settings) -> float:
    """Return the time from the start of the command to its first event, in seconds."""
    return settings.processor().registry_poll_s + LEAD_S


def live_range_s(contract: Contract, settings: Settings) -> int:
    """Return the default range of a live drill in seconds.

    Half is before the fault, a quarter with it. The last quarter is long enough for the recovery of the guard.
    """
    longest_s = max(window.length_s for window in contract.windows)
    after_s = recovery_s(contract, rules_of(contract, settings.alerts)) + verdict_delay_s(contract, settings)
    return max(6 * longest_s, 4 * math.ceil(after_s))


def check_live(client: Client, settings: Settings, contract: Contract, events: EventTables, timeout_s: float) -> None:
    """Check before a live drill that processors would count its events, and that it may take as long as it does."""
    if settings.clock != "live":
        raise DrillError("The processors run on the replay clock; a live drill needs processors on the wall clock.")
    reporting = {row.kind for row in processors(client) if not is_silent(row)}
    missing = [kind for kind in KINDS if kind not in reporting]
    if missing:
        raise DrillError(
            f"No {' and no '.join(missing)} reports to ClickHouse at {client.where}: nobody would count the events. "
            "Start the processors with `barograph run`, or leave out --live."
        )
    at = epoch_ms(events.predictions)
    total_s = lead_s(settings) + (int(at.max()) - int(at.min())) / 1000
    if total_s > timeout_s:
        longest_s = max(window.length_s for window in contract.windows)
        raise DrillError(
            f"A live drill takes as long as its events: {duration(total_s)}, with windows of up to "
            f"{duration(longest_s)}. Allow it with --timeout {math.ceil(total_s)}, shorten it with --history, or leave "
            "out --live."
        )


def check_windows(plan: DrillPlan) -> None:
    """Check that the windows of the expected rules fit into the range."""
    injection = plan.injection
    events_s = (injection.period.end_ms - int(epoch_ms(plan.events.predictions).min())) / 1000
    expected = {each.rule for each in injection.fires}
    needed_s = max((rule.long_s for rule in plan.model.rules if rule.name in expected), default=0)
    if needed_s > events_s:
        raise DrillError(
            f"The rules that must fire judge windows of {duration(needed_s)}, and only {duration(events_s)} of events "
            "precede the end of the fault; use a longer --history."
        )


def verdict_delay_s(contract: Contract, settings: Settings) -> float:
    """Return the time from the end of a window to its verdict, in seconds."""
    processor = settings.processor()
    waits_s = processor.flush_s + processor.write_s
    return contract.lateness_s + contract.out_of_order_s + contract.pane_s + waits_s
