"""Every query of every rule and runbook, on the real engine and in the form that Grafana's plugin sends."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from barograph_server.alerts import Rule, rules_for, to_files
from barograph_server.alerts.example import RUNBOOKS
from barograph_server.alerts.rule import HIDDEN
from barograph_server.dashboards.macros import TimeRange, expand_backend
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.signals import DETAILS, literal, panel_sql
from barograph_server.warehouse.tables import insert_rows
from tests.support.alerting import ODD, contracts, installation
from tests.support.warehouse import migrated, row

RULES = rules_for(contracts(), installation())
NOW = datetime.now(UTC).replace(microsecond=0)
RANGE = TimeRange(round(NOW.timestamp() - 600) * 1000, round(NOW.timestamp()) * 1000)
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
def client(engine: LocalClickHouse) -> Iterator[Client]:
    with migrated(engine) as built:
        now_s = int(NOW.timestamp())
        end = now_s // 3600 * 3600
        known = {"model": ODD, "version": "1", "slice": "all", "field": "it's $odd", "n": 1000, "level": "major"}
        known |= {"window_start": end - 3600, "window_end": end, "judged_at": now_s * 1000}
        observed = {"psi": 0.5, "psi_low": 0.4, "psi_high": 0.6}
        insert_rows(built, "drift", [row("drift", **known, **observed, window=window) for window in ("1h", "1d")])
        yield built


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.uid}")
def test_the_queries_of_a_rule_return_alert_instances(client: Client, rule: Rule) -> None:
    keys = []
    for query in IN_FILES[rule.uid]["data"][:-1]:
        sql = expand_backend(query["model"]["rawSql"], RANGE, query["model"]["intervalMs"])
        kinds = [kind for _, kind, *_ in client.rows(f"DESCRIBE ({sql})")]
        n_keys = bool(rule.signal.label)
        has_details, has_ends = "AS `cause`" in sql, "AS low, toDecimalString" in sql
        n_labels = n_keys + len(DETAILS) * has_details + 2 * has_ends
        assert kinds == ["String"] * n_labels + ["Float64"]
        rows = client.rows(sql)
        details = [dict(zip(DETAILS, row[n_keys:], strict=False)) for row in rows if has_details]
        optional = {"reason", "cause"} | (set() if rule.signal.short.window else {"window"})
        assert all(text or name in optional for row in details for name, text in row.items())
        keys.append([row[:n_keys] for row in rows])
    assert keys[0], "a rule has its rows always"
    # Grafana matches results of which one has all labels of the other.
    assert all(each == keys[0] for each in keys), "the observed number has the labels of the number"


def test_a_rule_of_a_model_with_an_odd_name_reads_its_verdict(client: Client) -> None:
    (rule,) = (each for each in RULES if each.name == "psi-major" and each.model == ODD and each.severity == "page")
    result = IN_FILES[rule.uid]
    number, observed = (client.rows(expand_backend(query["model"]["rawSql"], RANGE)) for query in result["data"][:2])
    assert number == [("amount", 0.2), ("it's $odd", 0.5)]
    end = datetime.fromtimestamp(int(NOW.timestamp()) // 3600 * 3600, UTC)
    assert observed[1][-2:] == (f" Drifting since {end:%Y-%m-%d %H:%M} UTC.", 0.5)
    assert '{{ printf "%.2f" $$values.E.Value }}' in result["annotations"]["summary"]


def test_an_outage_of_the_pipeline_is_one_page_and_no_gap_hides_nothing(client: Client) -> None:
    def numbers(at: int) -> dict[str, float]:
        reads = TimeRange((at - 600) * 1000, at * 1000)
        return {
            rule.name: client.rows(expand_backend(rule.queries["A"], reads))[0][-1] - rule.threshold
            for rule in RULES
            if rule.name in (*HIDDEN, "processor-gone") and rule.model in ("", "price")
        }

    start = int(NOW.timestamp()) // 60 * 60 - 40_000
    began = (start - 3600) * 1000
    insert_rows(client, "contracts", [row("contracts", model="price", applied_at=began)])
    insert_rows(client, "baselines", [row("baselines", model="price", accepted_at=began)])
    health = [row("model_health", model="price", at=(start + 60 * i) * 1000) for i in range(10)]
    insert_rows(client, "model_health", health)
    reports = [start + 60 * i for i in range(10)] + [start + 30_000 + 60 * i for i in range(100)]
    kinds = ("sketcher", "recorder", "monitor", "scorer")
    insert_rows(client, "processors", [row("processors", kind=each, at=at * 1000) for each in kinds for at in reports])
    during, after = numbers(start + 20_000), numbers(start + 30_000 + 1800)
    assert {name for name, number in during.items() if number > 0} == {"processor-gone"}
    assert not any(number > 0 for number in after.values()), "the pipeline catches up"
    late = {name for name, number in numbers(start + 30_000 + 5000).items() if number > 0}
    assert late == {"guard-silent", "pipeline-lag"}, "what did not recover is reported"


def test_a_page_and_a_ticket_about_nulls_of_one_feed_name_each_other(client: Client) -> None:
    end = int(NOW.timestamp()) // 3600 * 3600
    known = {"model": ODD, "version": "1", "slice": "all", "kind": "null", "window": "1h", "n": 900, "p_value": 0}
    known |= {"window_start": end - 3600, "window_end": end, "level": "major", "delta": 0.9, "delta_low": 0.8}
    insert_rows(client, "rates", [row("rates", field=field, **known) for field in ("amount", "country")])
    for severity, field, other in (("page", "amount", "country"), ("ticket", "country", "amount")):
        (rule,) = (r for r in RULES if (r.name, r.model, r.severity) == ("null-rate", ODD, severity))
        rows = {each[0]: each[-2] for each in client.rows(expand_backend(rule.queries["E"], RANGE))}
        at = f"{datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M} UTC"
        assert rows[field] == f" So since {at}. Since about then also {other}."


def test_literals_mean_the_same_after_grafana_and_clickhouse(client: Client) -> None:
    for text in (ODD, "plain-name", "a--b", "\x07", "ünï 名", "'; DROP TABLE drift; --", "\\", "{a:String}"):
        sql = expand_backend(f"SELECT {literal(text)}", RANGE)
        assert client.rows(sql) == [(text,)]


def test_panels_of_the_same_signal_have_a_time_and_a_number(client: Client) -> None:
    for name, rule in {rule.name: rule for rule in RULES}.items():
        sql = expand_backend(panel_sql(rule.signal), TimeRange(RANGE.to_ms - 86_400_000, RANGE.to_ms), 3_600_000)
        kinds = [kind for _, kind, *_ in client.rows(f"DESCRIBE ({sql})")]
        assert kinds == ["DateTime", *(["String"] if rule.signal.label else []), "Float64"], name
        times = [at for at, *_ in client.rows(sql)]
        assert times == sorted(times), name
        assert times, name


@pytest.mark.parametrize(("page", "sql"), QUESTIONS, ids=[f"{page}-{i}" for i, (page, _) in enumerate(QUESTIONS)])
def test_queries_of_runbooks_are_valid(client: Client, page: str, sql: str) -> None:
    client.rows(sql)
