"""The roles that `plan --roles` prints: each allows the work of its processor within its limits, and nothing else."""

import dataclasses
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from functools import partial

import pytest
from barograph.contract import Contract, LabelSpec
from barograph.contract.file import dump_contract

from barograph_server.cli.query import LIMITS, MAX_TABLE_ROWS
from barograph_server.evaluation.suites.logs.read import read_logs
from barograph_server.finding import Finding, FindingLevel
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.local.kafka import LocalKafka
from barograph_server.operations.doctor.clickhouse import check_privileges
from barograph_server.operations.doctor.run_checks import run_checks
from barograph_server.provisioning import apply_all
from barograph_server.provisioning.access.roles import role_lines
from barograph_server.settings import Settings
from barograph_server.streams.monitor.state.store import WarehouseStore
from barograph_server.warehouse.client import Address, WarehouseError
from barograph_server.warehouse.evaluation import eval_runs
from barograph_server.warehouse.roles import ROLES, Limit, Role
from barograph_server.warehouse.rollouts.as_of import up_to
from barograph_server.warehouse.rollouts.prompts import read_prompt
from barograph_server.warehouse.scoring.new_rows import TOPICS
from barograph_server.warehouse.tables import SCHEMAS
from tests.support.deploy_scripts import load_script
from tests.support.pipeline import ROOT, Pipeline, simple_baseline, simple_contract
from tests.support.roles_gateway import as_role, roles_gateway

DATABASE = "guarded"
ACCESS_DENIED = 497
CONTRACT: Contract = simple_contract(label=LabelSpec(type="bool", positive=True))
KINDS = ("sketcher", "recorder", "monitor", "scorer")
MONITOR = next(role for role in ROLES if role.name == "barograph_monitor")
NO_DRIFT = dataclasses.replace(
    MONITOR, name="monitor_without_drift", writes=tuple(table for table in MONITOR.writes if table != "drift")
)
"""The monitor's role without one of its grants, on a table that it may not read."""
N = 400
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def guarded(engine: LocalClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """An engine that runs requests of each user in the role of that name."""
    with roles_gateway(tmp_path_factory.mktemp("guarded"), engine.host, DATABASE, (*ROLES, NO_DRIFT)) as address:
        yield address


def settings_of(bootstrap: str, prefix: str, address: Address, role: str) -> Settings:
    partitions = dict.fromkeys(("predictions_partitions", "labels_partitions", "partials_partitions"), 1)
    warehouse = Address(address.host, address.port, DATABASE, role)
    return Settings(bootstrap_servers=bootstrap, topic_prefix=prefix, warehouse=warehouse, **partitions)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def ran(broker: LocalKafka, guarded: Address, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Everything done by its own role: the schema, counting, judging, recording, scoring."""
    prefix = f"r{uuid.uuid4().hex[:10]}-"
    settings = settings_of(broker.bootstrap_servers, prefix, guarded, "barograph_apply")
    apply_all(settings, [(CONTRACT, dump_contract(CONTRACT))], [simple_baseline()])
    assert apply_all(settings, [(CONTRACT, dump_contract(CONTRACT))], [simple_baseline()]).is_empty
    pipeline = Pipeline(broker.bootstrap_servers, guarded, prefix, tmp_path_factory.mktemp("ran"))
    begin_ms = int(time.time() * 1000) // HOUR_MS * HOUR_MS - 20 * HOUR_MS
    events, labels = [], []
    for i in range(N):
        at = begin_ms + i * 60_000
        features = {"x": i / N, "k": i % 5, "flag": i % 2 == 0, "colour": "red" if i % 9 else "new"}
        event = {"model": "toy", "version": "1", "id": f"e{i}", "at": at, "features": features, "score": i / N}
        events.append((0, json.dumps({**event, "context": {"region": "north"}}).encode(), None))
        label = {"model": "toy", "id": f"e{i}", "label": i % 3 == 0, "at": at + HOUR_MS}
        labels.append((0, json.dumps(label).encode(), None))
    pipeline.produce([*events, (0, b"malformed", None)])
    pipeline.produce(labels, topic=pipeline.topics.labels)
    pipeline.end(1)
    for kind in KINDS:
        pipeline.start(kind, username=f"barograph_{kind}", score_s=1.0)
    pipeline.wait_judged(N)
    pipeline.wait_rows(f"SELECT count() = {N} FROM predictions FINAL", "raw predictions")
    pipeline.wait_rows(f"SELECT count() = {N} FROM labels FINAL", "labels")
    pipeline.wait_rows("SELECT count() > 0 FROM latest_performance", "performance")
    pipeline.wait_rows("SELECT uniqExact(kind) = 4 FROM processors", "reports of all four")
    yield pipeline
    pipeline.stop()


def test_each_processor_does_its_work_in_its_role(ran: Pipeline) -> None:
    sql = f"SELECT DISTINCT table FROM system.parts WHERE database = '{DATABASE}' AND active AND rows > 0"
    written = {table for (table,) in ran.rows(sql)}
    assert written <= {table for role in ROLES for table in role.writes}
    judged, recorded = {"drift", "panes", "volume", "offset_ledger", "dead_letter_counts"}, {"predictions", "labels"}
    assert written >= judged | recorded | {"performance"}
    for kind in KINDS:
        assert "refused" not in ran.log(f"{kind}-0")


def test_a_monitor_reads_the_state_of_its_predecessor_in_its_role(ran: Pipeline) -> None:
    """The one that ran began without any state, so it had nothing to read."""
    with as_role(ran.address, "barograph_monitor") as client:
        store = WarehouseStore(client)
        end_s = store.sealed_until_s("toy")
        first_s = min(first for first in store.first_panes_s("toy").values() if first is not None)
        assert end_s is not None
        assert store.last_pane_s("toy") is not None
        assert store.load_volume("toy", first_s, end_s).num_rows > 0
        assert store.load_panes("toy", first_s, end_s)
        # Panes of an hour have no rollups by hour; a missing grant would be an error nonetheless.
        assert store.load_hours("toy", first_s, end_s) == []
        for table in ("panes", "rollups"):
            assert store.load_ranges(table, "toy", first_s, end_s)
        ledger, _ = store.load_ledger(0, "another topic")
        assert ledger.rows


def test_a_role_allows_its_work_and_nothing_else(ran: Pipeline, guarded: Address) -> None:
    """The script below also reads and writes every table in every role."""
    with as_role(guarded, "default", "default") as client:
        of_roles = "FROM system.grants WHERE startsWith(role_name, 'barograph_')"
        plain = "column IS NULL AND NOT is_partial_revoke AND NOT grant_option"
        granted = client.rows(f"SELECT role_name, access_type, database, table {of_roles} AND {plain}")
        assert client.rows(f"SELECT count() {of_roles}") == [(len(granted),)], "a privilege has another form"
    expected = {
        (role.name, privilege, DATABASE, None if table == "*" else table)
        for role in ROLES
        for privilege, tables in (
            ("SELECT", role.reads),
            ("INSERT", role.writes),
            ("ALTER DELETE", role.deletes),
            *((each, ("*",)) for each in role.further),
        )
        for table in tables
    }
    assert set(granted) == expected
    existing = {name for (name,) in ran.rows("SELECT name FROM system.tables WHERE database = currentDatabase()")}
    assert {table for *_, table in granted if table} <= existing, "all granted tables exist"
    deleted = {name for role in ROLES for name in role.deletes}
    assert not deleted & {"reviews", "changes", "prompts", "promotions"}, "what no processor computes again"
    retained = SCHEMAS.keys() - {"predictions"}
    for role in ROLES:
        with as_role(guarded, role.name) as client:
            for statement in (
                "CREATE TABLE elsewhere.t (a UInt8) ENGINE = Memory",
                "DROP DATABASE guarded",
                "SYSTEM SHUTDOWN",
                "CREATE USER anybody",
                "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
                "SELECT * FROM file('/etc/passwd', 'LineAsString', 'a String')",
                "GRANT SELECT ON *.* TO default",
                "TRUNCATE TABLE predictions",
                *(f"ALTER TABLE {each} DELETE WHERE 1" for each in SCHEMAS.keys() - (role.deletes or retained)),
            ):
                with pytest.raises(WarehouseError) as refused:
                    client.rows(statement) if statement.startswith("SELECT") else client.command(statement)
                assert refused.value.code == ACCESS_DENIED, (role.name, statement)


def test_analysts_read_every_view_and_write_nowhere(ran: Pipeline) -> None:
    with as_role(ran.address, "barograph_analyst") as client:
        views = client.rows("SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'View'")
        assert len(views) > 20
        for (view,) in views:
            client.rows(f"SELECT * FROM {view} LIMIT 1")
        # `shadow verify` hides rows after an offset.
        client.rows(f"SELECT count() FROM predictions {up_to({topic: {} for topic in TOPICS})}")
        with pytest.raises(WarehouseError) as refused:
            client.command("INSERT INTO processors (kind) VALUES ('made up')")
        assert refused.value.code == ACCESS_DENIED
        assert "Grant the user this right" in str(refused.value)


def test_the_script_for_a_server_finds_what_a_role_may_do(ran: Pipeline) -> None:
    """The embedded engine has grants, so these checks hold; it has no limits, so those of limits find holes."""
    script = load_script("clickhouse/check_roles.py")
    tables = [name for (name,) in ran.rows("SELECT name FROM system.tables WHERE database = currentDatabase()")]
    for role in ROLES:
        with as_role(ran.address, role.name) as client:
            checks = list(script.role_checks(role, partial(script._code, client), tables))
        privileges = [check for check in checks if "SETTINGS" not in check[1]]
        assert len(privileges) > 2 * len(tables) - len(role.writes), role.name
        assert not [text for holds, text in privileges if not holds]
        lifted = {text for holds, text in checks if not holds}
        assert any("SETTINGS max_memory_usage = 0" in text for text in lifted) == bool(role.limits), role.name
    (grafana,) = (role for role in ROLES if role.name == "barograph_grafana")
    with as_role(ran.address, "barograph_analyst") as client:
        checks = list(script.role_checks(grafana, partial(script._code, client), ["predictions", "drift"]))
    holes = [text for holds, text in checks if not holds and "SETTINGS" not in text]
    assert holes == ["barograph_grafana: SELECT on predictions: accepted"], "a role that reads too much"


def test_runs_of_suites_are_stored_by_their_role(ran: Pipeline) -> None:
    (run,) = read_logs([ROOT / "tests" / "golden" / "eval_logs" / "inspect.json"])
    with as_role(ran.address, "barograph_eval") as client:
        assert eval_runs.store_run(client, run, 1_000)
        assert not eval_runs.store_run(client, run, 2_000)
        (stored,) = eval_runs.read_runs(client, run.model)
        assert len(eval_runs.read_means(client, stored.run_id)) == stored.items == 4
        eval_runs.store_acceptances(client, [(stored, "first")], "ana", 3_000)
        assert eval_runs.accepted_runs(client, run.model) == {"answers": run.run_id}
        assert read_prompt(client, "answer", 1) is None


def run_doctor(pipeline: Pipeline, role: str) -> list[Finding]:
    return list(run_checks(settings_of(pipeline.bootstrap, pipeline.prefix, pipeline.address, role)))


def test_the_doctor_names_what_a_role_cannot_check_and_reports_no_error(ran: Pipeline) -> None:
    findings = run_doctor(ran, "barograph_analyst")
    assert not [finding for finding in findings if finding.level is FindingLevel.ERROR]
    unchecked = {finding.subject: finding for finding in findings if finding.level is FindingLevel.UNKNOWN}
    assert unchecked.keys() == {"ClickHouse", "Grafana"}
    assert unchecked["ClickHouse"].message == "The privileges of the users of other roles were not checked."
    assert "deploy/clickhouse/check_roles.py" in unchecked["ClickHouse"].action
    checked = {finding.subject for finding in findings if finding.level is FindingLevel.OK}
    assert checked >= {"Kafka", "Topics", "ClickHouse", "Contracts", "Processors", "Clocks"}
    findings = run_doctor(ran, "barograph_sketcher")
    assert not [finding for finding in findings if finding.level is FindingLevel.ERROR]
    refused = [finding for finding in findings if finding.message.startswith("Not checked: ")]
    assert {finding.level for finding in refused} == {FindingLevel.UNKNOWN}
    assert {finding.subject for finding in refused} == {"ClickHouse", "Processors", "Events"}
    assert all("Not enough privileges" in finding.message for finding in refused)
    assert all("barograph_analyst" in finding.action for finding in refused)


def test_the_doctor_recognizes_no_role_without_one_of_its_grants(ran: Pipeline) -> None:
    assert "drift" not in MONITOR.reads
    with as_role(ran.address, NO_DRIFT.name) as client:
        findings = list(check_privileges(client))
    assert {finding.level for finding in findings} == {FindingLevel.ERROR}
    [finding] = [finding for finding in findings if "may not write" in finding.message]
    assert finding.message.startswith("This user may not write (the privilege is missing): ")
    assert " drift," in finding.message
    assert " rates" not in finding.message
    assert f"`barograph plan --roles`), or SELECT and INSERT on {DATABASE}.*" in finding.action


def test_every_statement_is_one_that_clickhouse_understands(guarded: Address) -> None:
    """The embedded engine stores no roles, profiles and quotas; its parser reads them all the same."""
    text = "\n".join(line for line in role_lines(DATABASE) if not line.startswith("--"))
    result = [statement.strip() for statement in text.split(";") if statement.strip()]
    assert len(result) == 2 * len(ROLES) + 2 * len([role for role in ROLES if role.quota])
    users = load_script("clickhouse/create_users.py")
    result += [statement for role in ROLES for statement in users.user_statements(role, "it's \\ secret")]
    with as_role(guarded, "default", "default") as client:
        for statement in result:
            [(formatted,)] = client.rows("SELECT formatQuerySingleLine({text:String})", {"text": statement})
            assert formatted.split()[:2] == statement.split()[:2]
        with pytest.raises(WarehouseError):
            client.rows("SELECT formatQuerySingleLine('CREATE QUOTA q FOR 1 week MAX everything')")


CONSTRAINT = 452
READONLY = 164
READERS = [role for role in ROLES if role.limits]


def codes(role: Role, statements: list[str], *, readonly: int = 2) -> list[int]:
    """Run each statement under the limits of a role; return the codes of their errors, 0 for none.

    With readonly = 2 only the constraints refuse a setting; with 1 ClickHouse also refuses those without a constraint.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.limited_engine", role.name, str(readonly)],
        cwd=ROOT,
        input=json.dumps(statements),
        capture_output=True,
        text=True,
        check=True,
    )
    result: list[int] = json.loads(done.stdout)
    assert len(result) == len(statements)
    return result


def lifting(limit: Limit) -> list[str]:
    if limit.most is None:
        other = 1 if isinstance(limit.value, int) else "'break'"
        return [f"SET {limit.setting} = {other}", f"SELECT 1 SETTINGS {limit.setting} = {other}"]
    values = [0, limit.most + 1]
    if limit.setting == "max_threads":
        values.remove(0)  # 0 is not unlimited, but the number of cores
    return [
        text.format(f"{limit.setting} = {value}")
        for text in ("SET {}", "SELECT 1 SETTINGS {}", "SET profile = 'default'; SET {}")
        for value in values
    ]


@pytest.mark.parametrize("role", READERS, ids=lambda role: role.name)
def test_no_statement_lifts_a_limit(role: Role) -> None:
    """A query may set any value within the bounds."""
    lifts = [statement for limit in role.limits for statement in lifting(limit)]
    allowed = [f"SET {limit.setting} = {value}" for limit in role.limits if limit.most for value in (1, limit.most)]
    if role.name == "barograph_analyst":
        settings = ", ".join(f"{name} = {value!r}" for name, value in {**LIMITS, "limit": MAX_TABLE_ROWS + 1}.items())
        allowed.append(f"SELECT 1 SETTINGS {settings}")  # those of the command `query`
    expected = {**dict.fromkeys(lifts, CONSTRAINT), **dict.fromkeys(allowed, 0), "SET readonly = 0": READONLY}
    assert dict(zip(expected, codes(role, list(expected)), strict=True)) == expected


def test_grafana_may_set_the_time_limit_that_its_plugin_sends() -> None:
    """Plugin 4.20.0 sends the remaining time of the request and 5 s: 62 to 65 s were seen."""
    (role,) = (role for role in READERS if role.name == "barograph_grafana")
    accepted = [f"SELECT 1 SETTINGS max_execution_time = {seconds}" for seconds in (1, 62, 64, 65)]
    assert codes(role, accepted) == [0] * len(accepted)
    assert "CHANGEABLE_IN_READONLY" in str(role.limits[0])
    refused = ["SET max_memory_usage = 1000", "SET readonly = 0", "SET max_block_size = 1"]
    refused += [f"SET profile = 'default'; {statement}" for statement in refused]
    assert codes(role, refused, readonly=1) == [READONLY] * len(refused)
