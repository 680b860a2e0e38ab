"""The debts of a model at the end of a week, as lines of text."""

from datetime import datetime

from barograph.contract import Contract

from barograph_server.governance.debt.run_checks import run_checks
from barograph_server.governance.debt.scope import DebtFinding
from barograph_server.grafana.errors import GrafanaError
from barograph_server.settings import Settings
from barograph_server.terminal import plural
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.errors import WarehouseError

WITH_VALUES = frozenset({"constant field"})
"""Kinds of findings whose reason has a value of predictions, which a report must not have."""


def debt_lines(settings: Settings, client: Client, contract: Contract, at: datetime) -> tuple[str, ...]:
    """Run the checks of `barograph debt` without raw events; a line each, and one for all that is unknown."""
    try:
        report = run_checks(settings, client, [contract], at)
    except (GrafanaError, WarehouseError) as error:
        return (f"Debts are unknown: {error}",)
    lines = [
        f"{each.kind}: {each.subject}{_reason(each)}; {each.action}; ask {each.owner or 'nobody, none is declared'}"
        for each in report.findings
    ]
    if report.notes:
        lines.append(f"{plural(len(report.notes), 'thing')} could not be evaluated, see `barograph debt`.")
    return tuple(lines)


def _reason(finding: DebtFinding) -> str:
    return "" if finding.kind in WITH_VALUES else f"; {finding.message}"
