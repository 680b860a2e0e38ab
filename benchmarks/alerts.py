"""How long the queries of alert rules take, and a replay of a month of them."""

from __future__ import annotations

import time

from barograph.contract import Contract
from barograph.contract_yaml import parse_contract

from alerts import AlertSettings, rules_of
from alerts.simulator import simulate
from benchmarks.figures import Figures
from benchmarks.world import World
from warehouse import migrate
from warehouse.client import Client
from warehouse.signals import point_sql

SECTION = "alerts"
DATABASE = "bench_alerts"
HOUR_S, DAY_S = 3600, 86_400
RUNS = 7
LABELS = 5_000_000
_KEY = "concat('m', toString(m)) AS model, '1' AS version, 'b' AS baseline_id, 'all' AS slice"


def measure_alerts(world: World, figures: Figures, *, models: int, fields: int, days: int) -> None:
    """Fill a database with verdicts on hourly panes, ask every rule of one model, and replay its history."""
    end_s = int(time.time()) // HOUR_S * HOUR_S
    with world.client(DATABASE) as client:
        migrate.apply(client)
        _fill(client, models, fields, days, end_s)
        rules = rules_of(_contract(fields), AlertSettings())
        taken: dict[str, float] = {}
        for rule in rules:
            sql = point_sql(rule.signal, at=f"toUInt32({end_s})")
            runs = [_seconds(client, sql) for _ in range(RUNS)]
            name = f"{rule.name} ({rule.severity}, {len(rule.signal.keys)} instances)"
            taken[name] = sorted(runs)[RUNS // 2] * 1000
        size = f"{models} models × {fields} fields × {days} days of hourly panes"
        worst = max(taken, key=lambda name: taken[name])
        figures.add(SECTION, "slowest query of a rule", taken[worst], "ms", f"{worst}; {size}; median of {RUNS}")
        figures.add(
            SECTION, "all rules of a model once", sum(taken.values()), "ms", f"{len(rules)} rules, one query each"
        )
        began = time.perf_counter()
        simulate(client, rules, AlertSettings(), end_s - days * DAY_S, end_s, "ended")
        figures.add(SECTION, "replay of a model's history", time.perf_counter() - began, "s", f"{days} days")
        client.command(f"DROP DATABASE {DATABASE}")


def _seconds(client: Client, sql: str) -> float:
    began = time.perf_counter()
    client.rows(sql)
    return time.perf_counter() - began


def _contract(fields: int) -> Contract:
    watched = "".join(f"  f{i}: {{type: float, critical: {str(i % 10 == 0).lower()}}}\n" for i in range(fields))
    return parse_contract(
        "contract: 1\nmodel: m0\npane: 1h\nwindows: [{length: 1d, hop: 1h}, {length: 7d, hop: 1h}]\n"
        "label: {type: bool, positive: true}\n"
        "slo: {latency_ms: 50, latency_share: 0.9, error_rate: 0.01, performance: {auc: 0.7}}\n"
        f"fields:\n{watched}"
    )


def _fill(client: Client, models: int, fields: int, days: int, end_s: int) -> None:
    """Write verdicts of every hour, window, field and kind, day by day; a row is numbered by model, hour and field."""
    of_window = "model, version, baseline_id, slice, window_end, judged_at, pos, field, window, window_start, n, level"
    hour = f"toDateTime({end_s} - h * {HOUR_S}, 'UTC') AS window_end, window_end AS judged_at, 1 AS pos"

    def windows(field: str, window: str, length_s: int) -> str:
        return f"{_KEY}, {hour}, {field}, '{window}', window_end - {length_s}, 5000, 'stable'"

    for day in range(days):
        rows = (
            f"(SELECT intDiv(number, {24 * fields}) AS m, intDiv(number, {fields}) % 24 + {24 * day} AS h, "
            f"number % {fields} AS f FROM numbers({models * 24 * fields}))"
        )
        field = "concat('f', toString(f))"
        for window, length_s in (("1d", DAY_S), ("7d", 7 * DAY_S)):
            client.command(
                f"INSERT INTO drift ({of_window}, psi, psi_low, psi_high) SELECT {windows(field, window, length_s)}, "
                f"(cityHash64(m, f) % 100) / 800 + 0.1 * sin(h / 20 + f), 0, 1 FROM {rows}"
            )
        for kind in ("null", "invalid", "below", "above"):
            client.command(
                f"INSERT INTO rates ({of_window}, kind, delta, delta_low, delta_high) "
                f"SELECT {windows(field, '1d', DAY_S)}, '{kind}', 0, 0, 0 FROM {rows}"
            )
    hours = f"(SELECT intDiv(number, {24 * days}) AS m, number % {24 * days} AS h FROM numbers({models * 24 * days}))"
    events = windows("'events'", "1d", DAY_S)
    client.command(f"INSERT INTO rates ({of_window}, kind, completeness) SELECT {events}, 'error', 1 FROM {hours}")
    client.command(
        "INSERT INTO volume (model, version, baseline_id, slice, pane_start, pane_s, n, errors, timed, slow, sealed) "
        f"SELECT {_KEY}, toDateTime({end_s} - (h + 1) * {HOUR_S}, 'UTC'), {HOUR_S}, 5000, 10, 5000, 100, 1 FROM {hours}"
    )
    client.command(
        "INSERT INTO labels (model, id, at, received_at, label, label_type, offset) "
        f"SELECT concat('m', toString(number % {models})), toString(number), "
        f"toDateTime64({end_s} - number * {days * DAY_S / LABELS}, 3) AS moment, moment, '1', 'bool', number "
        f"FROM numbers({LABELS})"
    )
