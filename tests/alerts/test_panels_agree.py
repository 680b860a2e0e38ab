import math
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from barograph_server.alerts import Rule, rules_for, to_files
from barograph_server.alerts.example import RUNBOOKS
from barograph_server.alerts.rule import HIDDEN
from barograph_server.cli.run import ProcessorKind
from barograph_server.dashboards.macros import TimeRange, expand, expand_backend
from barograph_server.dashboards.pages import dashboards
from barograph_server.dashboards.parse import panels_of
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.streams.settings import DEFAULT_PORTS
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.signals import DETAILS, literal, panel_sql, point_sql
from barograph_server.warehouse.signals.pipeline import DEFERRABLE, GONE_S, URGENT
from tests.support.alerting import ODD, contracts, installation
from tests.support.warehouse import add_row, add_rows, migrated

END_S = int(time.time()) // 86_400 * 86_400
RANGE = TimeRange((END_S - 86_400) * 1000, (END_S + 3600) * 1000)
RULES = rules_for(contracts(), installation())


@pytest.fixture(scope="module")
def client(migrated_client: Client) -> Client:
    known = {"model": ODD, "version": "1", "slice": "all", "level": "major", "window_end": END_S}
    for window, length_s, psi in (("1h", 3600, 0.31), ("1d", 86_400, 0.35)):
        start = {"window": window, "window_start": END_S - length_s, "n": 9000}
        judged = {"judged_at": END_S * 1000, "threshold_minor": 0.1, "threshold_major": 0.2}
        observed = {"psi": psi, "psi_low": psi - 0.05, "psi_high": psi + 0.05}
        for field in ("amount", "score"):
            add_row(migrated_client, "drift", field=field, **known, **start, **judged, **observed)
        lines = {"judged_at": END_S * 1000, "threshold_minor": 0.01, "threshold_major": 0.05}
        rate = {"field": "amount", "kind": "null", "rate": 0.4, "baseline_rate": 0, "p_value": 0}
        rate |= {"delta": 0.4, "delta_low": 0.3, "delta_high": 0.5}
        add_row(migrated_client, "rates", **known, **start, **lines, **rate)
    figure = {"metric": "auc", "value": 0.6, "low": 0.55, "high": 0.65, "promise": 0.7, "mature": True}
    counted = {"window": "1d", "n": 900, "predictions": 999, "revised_at": END_S * 1000, "revision": 1}
    add_row(migrated_client, "performance", **known, **figure, **counted)
    return migrated_client


def shown(client: Client, rule: Rule, window: str, field: str) -> dict[str, list[Any]]:
    (page,) = (page for page in dashboards().values() if page["uid"] == rule.panel.dashboard_uid)
    (panel,) = (panel for panel in panels_of(page) if panel["id"] == rule.panel.panel_id)
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


def test_a_panel_shows_the_value_and_the_threshold_of_its_rule(client: Client) -> None:
    for name, part, key, window, series, line in (
        ("psi-major", "", "amount", "1h", "psi", "major threshold"),
        ("output-shift", "", "score", "1h", "psi", "major threshold"),
        ("null-rate", "", "amount", "1h", "rate", "major threshold"),
        ("performance", "auc", "", "1d", "auc value", "auc SLO SLO"),
    ):
        (rule,) = (
            rule
            for rule in RULES
            if (rule.name, rule.part, rule.model) == (name, part, ODD) and (not key or key in rule.signal.keys)
        )
        result = shown(client, rule, window, key)
        assert [value for value in result[line] if math.isfinite(value)] == [rule.threshold]
        assert result[series] == [pytest.approx(number(client, rule, key))]


NOW = datetime.now(UTC).replace(microsecond=0)
LAST_MINUTES = TimeRange(round(NOW.timestamp() - 600) * 1000, round(NOW.timestamp()) * 1000)
IN_FILES = {
    rule["uid"]: rule
    for content in to_files(RULES, installation()).values()
    for group in content.get("groups", [])
    for rule in group["rules"]
}
QUESTIONS = [
    (path.stem, sql)
    for path in sorted(RUNBOOKS.glob("*.md"))
    for sql in re.findall(r"```sql\n(.*?)```", path.read_text("utf-8"), re.DOTALL)
]


@pytest.fixture(scope="module")
def emptied_client(engine: LocalClickHouse) -> Iterator[Client]:
    with migrated(engine) as built:
        now_s = int(NOW.timestamp())
        end = now_s // 3600 * 3600
        known = {"model": ODD, "version": "1", "slice": "all", "field": "it's $odd", "n": 1000, "level": "major"}
        known |= {"window_start": end - 3600, "window_end": end, "judged_at": now_s * 1000}
        observed = {"psi": 0.5, "psi_low": 0.4, "psi_high": 0.6}
        add_rows(built, "drift", [{"window": window} for window in ("1h", "1d")], **known, **observed)
        yield built


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.uid}")
def test_the_queries_of_a_rule_return_alert_instances(emptied_client: Client, rule: Rule) -> None:
    keys = []
    for query in IN_FILES[rule.uid]["data"][:-1]:
        sql = expand_backend(query["model"]["rawSql"], LAST_MINUTES, query["model"]["intervalMs"])
        kinds = [kind for _, kind, *_ in emptied_client.rows(f"DESCRIBE ({sql})")]
        n_keys = bool(rule.signal.label)
        has_details, has_ends = "AS `cause`" in sql, "AS low, toDecimalString" in sql
        n_labels = n_keys + len(DETAILS) * has_details + 2 * has_ends
        assert kinds == ["String"] * n_labels + ["Float64"]
        rows = emptied_client.rows(sql)
        details = [dict(zip(DETAILS, row[n_keys:], strict=False)) for row in rows if has_details]
        optional = {"reason", "cause"} | (set() if rule.signal.short.window else {"window"})
        assert all(text or name in optional for row in details for name, text in row.items())
        keys.append([row[:n_keys] for row in rows])
    assert keys[0], "a rule has its rows always"
    # Grafana matches results of which one has all labels of the other.
    assert all(each == keys[0] for each in keys), "the observed number has the labels of the number"


def test_a_rule_of_a_model_with_an_odd_name_reads_its_verdict(emptied_client: Client) -> None:
    (rule,) = (each for each in RULES if each.name == "psi-major" and each.model == ODD and each.severity == "page")
    result = IN_FILES[rule.uid]
    number, observed = (
        emptied_client.rows(expand_backend(query["model"]["rawSql"], LAST_MINUTES)) for query in result["data"][:2]
    )
    assert number == [("amount", 0.2), ("it's $odd", 0.5)]
    end = datetime.fromtimestamp(int(NOW.timestamp()) // 3600 * 3600, UTC)
    assert observed[1][-2:] == (f" Drifting since {end:%Y-%m-%d %H:%M} UTC.", 0.5)
    assert '{{ printf "%.2f" $$values.E.Value }}' in result["annotations"]["summary"]


def test_an_outage_of_the_pipeline_is_one_page_and_no_gap_hides_nothing(client: Client) -> None:
    rules = [rule for rule in RULES if rule.name in (*HIDDEN, "processor-gone") and rule.signal.keys != DEFERRABLE]

    def firing(at: int) -> set[str]:
        reads = TimeRange((at - 600) * 1000, at * 1000)
        return {
            rule.name
            for rule in rules
            if rule.model in ("", "price")
            and any(each[-1] > rule.threshold for each in client.rows(expand_backend(rule.queries["A"], reads)))
        }

    start = int(NOW.timestamp()) // 60 * 60 - 40_000
    began = (start - 3600) * 1000
    add_row(client, "contracts", model="price", applied_at=began)
    add_row(client, "baselines", model="price", accepted_at=began)
    add_rows(client, "model_health", [{"at": (start + 60 * i) * 1000} for i in range(10)], model="price")
    reports = [start + 60 * i for i in range(10)] + [start + 30_000 + 60 * i for i in range(100)]
    add_rows(client, "processors", [{"kind": each, "at": at * 1000} for each in URGENT for at in reports])
    assert firing(start + 20_000) == {"processor-gone"}
    assert firing(start + 30_000 + 1800) == set(), "the pipeline catches up"
    assert firing(start + 30_000 + 5000) == {"guard-silent", "pipeline-lag"}, "what did not recover is reported"
    for alive in ("sketcher", "recorder", "monitor"):
        reports = [*range(start + 36_000, start + 37_200, 60)]
        add_rows(client, "processors", [{"at": at * 1000} for at in reports], kind=alive)
    unexplained = {"processor-gone", "guard-silent", "pipeline-lag"}
    assert firing(start + 37_200) == unexplained, "a scorer that is gone explains none of them"


def test_each_processor_that_stops_reporting_is_gone_and_one_that_was_never_there_is_not(client: Client) -> None:
    at = int(NOW.timestamp()) // 60 * 60 - 1_500_000
    rules = [rule for rule in RULES if rule.name in ("processor-gone", "guard-silent")]
    assert {rule.signal.keys: rule.severity for rule in rules} == {URGENT: "page", DEFERRABLE: "ticket", ("",): "page"}
    assert {*URGENT, *DEFERRABLE, "guard"} == {*DEFAULT_PORTS} == {*get_args(ProcessorKind)}

    def silent(at: int) -> list[str]:
        reads = TimeRange((at - 600) * 1000, at * 1000)
        numbers = [client.rows(expand_backend(rule.queries["A"], reads)) for rule in rules if rule.signal.label]
        return [kind for rows in numbers for kind, number in rows if number > GONE_S]

    assert not silent(at)
    for kind in (*URGENT, *DEFERRABLE):
        add_row(client, "processors", kind=kind, at=at * 1000)
        assert not silent(at + 100)
        assert silent(at + 130) == [kind]
        assert not silent(at + 86_500), "removed"
        at += 100_000


def test_a_page_and_a_ticket_about_nulls_of_one_feed_name_each_other(client: Client) -> None:
    end = int(NOW.timestamp()) // 3600 * 3600
    known = {"model": ODD, "version": "1", "slice": "all", "kind": "null", "window": "1h", "n": 900, "p_value": 0}
    known |= {"window_start": end - 3600, "window_end": end, "level": "major", "delta": 0.9, "delta_low": 0.8}
    add_rows(client, "rates", [{"field": field} for field in ("amount", "country")], **known)
    for severity, field, other in (("page", "amount", "country"), ("ticket", "country", "amount")):
        (rule,) = (r for r in RULES if (r.name, r.model, r.severity) == ("null-rate", ODD, severity))
        rows = {each[0]: each[-2] for each in client.rows(expand_backend(rule.queries["E"], RANGE))}
        assert re.fullmatch(rf" Not stable since [0-9-]+ [0-9:]+ UTC\. Since about then also {other}\.", rows[field])


def test_literals_mean_the_same_after_grafana_and_clickhouse(emptied_client: Client) -> None:
    for text in (ODD, "plain-name", "a--b", "\x07", "ünï 名", "'; DROP TABLE drift; --", "\\", "{a:String}"):
        sql = expand_backend(f"SELECT {literal(text)}", LAST_MINUTES)
        assert emptied_client.rows(sql) == [(text,)]


def test_panels_of_the_same_signal_have_a_time_and_a_number(emptied_client: Client) -> None:
    for name, rule in {rule.name: rule for rule in RULES}.items():
        day = TimeRange(LAST_MINUTES.to_ms - 86_400_000, LAST_MINUTES.to_ms)
        sql = expand_backend(panel_sql(rule.signal), day, 3_600_000)
        kinds = [kind for _, kind, *_ in emptied_client.rows(f"DESCRIBE ({sql})")]
        assert kinds == ["DateTime", *(["String"] if rule.signal.label else []), "Float64"], name
        times = [at for at, *_ in emptied_client.rows(sql)]
        assert times == sorted(times) != [], name


@pytest.mark.parametrize(("page", "sql"), QUESTIONS, ids=[f"{page}-{i}" for i, (page, _) in enumerate(QUESTIONS)])
def test_queries_of_runbooks_are_valid(emptied_client: Client, page: str, sql: str) -> None:
    emptied_client.rows(sql)
