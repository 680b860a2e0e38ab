"""The panel that a rule links to shows the value and the threshold of the rule."""

import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from barograph_server.alerts import Rule, rules_for
from barograph_server.dashboards.macros import TimeRange, expand, expand_backend
from barograph_server.dashboards.pages import dashboards
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.signals import point_sql
from barograph_server.warehouse.tables import insert_rows
from tests.support.alerting import ODD, contracts, installation
from tests.support.warehouse import migrated, row

END_S = int(time.time()) // 86_400 * 86_400
RANGE = TimeRange((END_S - 86_400) * 1000, (END_S + 3600) * 1000)
RULES = rules_for(contracts(), installation())


@pytest.fixture(scope="module")
def client(engine: LocalClickHouse) -> Iterator[Client]:
    with migrated(engine) as built:
        known = {"model": ODD, "version": "1", "slice": "all", "level": "major", "window_end": END_S}
        for window, length_s, psi in (("1h", 3600, 0.31), ("1d", 86_400, 0.35)):
            start = {"window": window, "window_start": END_S - length_s, "n": 9000}
            judged = {"judged_at": END_S * 1000, "threshold_minor": 0.1, "threshold_major": 0.2}
            observed = {"psi": psi, "psi_low": psi - 0.05, "psi_high": psi + 0.05}
            for field in ("amount", "score"):
                insert_rows(built, "drift", [row("drift", field=field, **known, **start, **judged, **observed)])
            lines = {"judged_at": END_S * 1000, "threshold_minor": 0.01, "threshold_major": 0.05}
            rate = {"field": "amount", "kind": "null", "rate": 0.4, "baseline_rate": 0, "p_value": 0}
            rate |= {"delta": 0.4, "delta_low": 0.3, "delta_high": 0.5}
            insert_rows(built, "rates", [row("rates", **known, **start, **lines, **rate)])
        figure = {"metric": "auc", "value": 0.6, "low": 0.55, "high": 0.65, "promise": 0.7, "mature": True}
        counted = {"window": "1d", "n": 900, "predictions": 999, "revised_at": END_S * 1000, "revision": 1}
        insert_rows(built, "performance", [row("performance", **known, **figure, **counted)])
        yield built


def panels(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in node.get("panels", []):
        yield panel
        yield from panels(panel)


def shown(client: Client, rule: Rule, window: str, field: str) -> dict[str, list[Any]]:
    (page,) = (page for page in dashboards().values() if page["uid"] == rule.panel.dashboard_uid)
    (panel,) = (panel for panel in panels(page) if panel["id"] == rule.panel.panel_id)
    result: dict[str, list[Any]] = {}
    for target in panel["targets"]:
        variables = {"model": ODD, "version": "1", "slice": "all", "window": window, "field": field}
        sql = expand(target["rawSql"], RANGE, variables, interval_ms=3_600_000)
        names = [name for name, *_ in client.rows(f"DESCRIBE ({sql})")]
        for record in client.rows(sql):
            texts = [value for value in record if isinstance(value, str)]
            for name, value in zip(names, record, strict=True):
                if isinstance(value, float):
                    result.setdefault(" ".join([*texts, name]), []).append(value)
    return result


def number(client: Client, rule: Rule, key: str) -> float:
    at = int(datetime.fromtimestamp(END_S + 60, UTC).timestamp()) * 1000
    rows = client.rows(expand_backend(point_sql(rule.signal), TimeRange(at - 600_000, at)))
    return float({label[0] if label else "": value for *label, value in rows}[key])


@pytest.mark.parametrize(
    ("name", "part", "key", "window", "series", "line"),
    [
        ("psi-major", "", "amount", "1h", "psi", "major threshold"),
        ("output-shift", "", "score", "1h", "psi", "major threshold"),
        ("null-rate", "", "amount", "1h", "rate", "major threshold"),
        ("performance", "auc", "", "1d", "auc value", "auc SLO SLO"),
    ],
)
def test_a_panel_shows_the_value_and_the_threshold_of_its_rule(
    client: Client, name: str, part: str, key: str, window: str, series: str, line: str
) -> None:
    (rule,) = (
        rule
        for rule in RULES
        if (rule.name, rule.part, rule.model) == (name, part, ODD) and (not key or key in rule.signal.keys)
    )
    result = shown(client, rule, window, key)
    assert [value for value in result[line] if math.isfinite(value)] == [rule.threshold]
    assert result[series] == [pytest.approx(number(client, rule, key))]
