"""The roles of ClickHouse: what Grafana may read, which limits a query may change, and the size of quotas."""

from __future__ import annotations

import re

import pytest

from barograph_server.alerts import rules_for, rules_of, to_files
from barograph_server.dashboards.pages import dashboards
from barograph_server.dashboards.parse import queries_in
from barograph_server.warehouse import migrate
from barograph_server.warehouse.roles import MODELS, ROLES, Limit, Role, statements
from tests.support.alerting import contracts, installation
from tests.support.grafana_provisioning import ROOT

GRAFANA, ANALYST = (
    next(role for role in ROLES if role.name == name) for name in ("barograph_grafana", "barograph_analyst")
)
RULES = [
    [query["model"]["rawSql"] for query in rule["data"] if "rawSql" in query["model"]]
    for content in to_files(rules_for(contracts(), installation()), installation()).values()
    for group in content.get("groups", [])
    for rule in group["rules"]
]
CREATED = {
    match[1]: statement
    for migration in migrate.load()
    for statement in migration.statements
    if (match := re.match(r"CREATE (?:TABLE IF NOT EXISTS|OR REPLACE VIEW) (\w+)", statement))
}
LIFTED_BY_ZERO = {
    *("max_memory_usage", "max_execution_time", "max_rows_to_read", "max_bytes_to_read", "max_result_rows"),
    *("max_result_bytes", "max_concurrent_queries_for_user", "max_temporary_data_on_disk_size_for_query"),
    "max_temporary_data_on_disk_size_for_user",
}


def named(sql: str) -> set[str]:
    return set(re.findall(r"\b(?:FROM|JOIN)\s+(\w+)", sql)) & CREATED.keys()


def below(names: set[str]) -> set[str]:
    """Return what views read with the privileges of their caller: a view with a definer hides what it reads."""
    result: set[str] = set()
    queue = list(names)
    while queue:
        statement = CREATED[queue.pop()]
        if statement.startswith("CREATE OR REPLACE VIEW") and "SQL SECURITY DEFINER" not in statement:
            _, _, select = statement.partition("\nAS\n")
            queue += (fresh := named(select) - result - names)
            result |= fresh
    return result


def test_grafana_reads_exactly_what_dashboards_and_rules_need() -> None:
    queries = [query.sql for dashboard in dashboards().values() for query in queries_in(dashboard)]
    names = set[str]().union(*(named(sql) for sql in (*queries, *(sql for rule in RULES for sql in rule))))
    assert {"drift", "label_times", "duplicates", "processors"} <= names
    assert set(GRAFANA.reads) == names | below(names)


def test_no_role_for_reading_may_write_or_change_readonly() -> None:
    for role, mode in ((GRAFANA, 1), (ANALYST, 2)):
        assert role.readonly == mode
        assert not role.writes
        assert not role.further


@pytest.mark.parametrize("role", [GRAFANA, ANALYST], ids=lambda role: role.name)
def test_zero_lifts_no_limit_and_a_query_beyond_one_fails_instead_of_returning_a_part(role: Role) -> None:
    bounded = {limit.setting for limit in role.limits if limit.most is not None}
    assert bounded >= LIFTED_BY_ZERO
    for limit in role.limits:
        assert re.search(r" CONST$| MIN [1-9]\d* MAX [1-9]\d*", str(limit)), limit
    (profile,) = (sql for _, those in statements("db", [role]) for sql in those if "SETTINGS PROFILE" in sql)
    assert profile.count(" MAX ") == profile.count(" MIN 1 MAX ")
    for kind in ("timeout", "read", "result"):
        assert Limit(f"{kind}_overflow_mode", "throw") in role.limits


def test_the_quota_of_grafana_lasts_for_the_stated_number_of_models() -> None:
    per_minute = [
        sum(len(rule.queries) * 60 / rule.every_s for rule in rules_of(model, installation())) for model in contracts()
    ]
    busiest = round(max(per_minute))
    assert GRAFANA.quota is not None
    budget = GRAFANA.quota.queries / MODELS / 60
    # More than half of the quota is left for dashboards.
    assert budget > 2 * busiest
    text = " ".join((ROOT / "docs/security.md").read_text("utf-8").split())
    assert f"for {MODELS} models. Each rule" in text
    assert f"sends {busiest} queries a minute, so {budget - busiest:g} are left for dashboards" in text
    assert f"the queries last for {GRAFANA.quota.queries // 60 // busiest:,} models" in text


def test_roles_and_their_users_have_different_names() -> None:
    """ClickHouse takes a name after TO for a user before it looks for a role."""
    names = {role.name for role in ROLES}
    assert not names & {role.user for role in ROLES}
    assert all(name.startswith("barograph_") for name in names), "roles belong to the whole server"


def test_a_role_that_exists_loses_what_it_no_longer_has() -> None:
    for role, those in statements("db"):
        (grant,) = (sql for sql in those if sql.startswith("GRANT"))
        assert grant.endswith(f" TO {role.name} WITH REPLACE OPTION")
