"""`plan` and `apply` with a real broker and a real ClickHouse."""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from barograph.contract import Contract, Text
from barograph.contract.file import dump_contract
from barograph.text.codebook import parse_codebook
from barograph.text.embedding import EmbeddingName
from confluent_kafka.admin import AdminClient, NewPartitions

from barograph_server.cli.apply import plan_lines
from barograph_server.dashboards.uids import DASHBOARDS
from barograph_server.errors import EXIT_CHANGES, EXIT_FAILED, EXIT_OK
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.local.kafka import LocalKafka
from barograph_server.provisioning import ApplyError, Plan, apply_all, plan_all
from barograph_server.provisioning.catalogue import MIN_LEAD_S
from barograph_server.provisioning.files import read_inputs
from barograph_server.provisioning.topics import TopicAdmin
from barograph_server.settings import Settings
from barograph_server.sketches.baseline.baseline import Baseline, dump_baseline
from barograph_server.terminal import utc_second
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import connect
from tests.support.command_line import OutputOf
from tests.support.environment import enter_folder, installation, kafka_lines
from tests.support.grafana_state import READER_PERMISSIONS
from tests.support.pipeline import simple_baseline, simple_contract, wait_for
from tests.support.questions import codebook_of
from tests.support.stub_grafana import TOKEN, StubGrafana

PANE_S = 3600
NOW_S = 1_767_225_600.0 + PANE_S / 2
"""Half an hour into a pane of an hour."""
NEXT_PANE_S = int(NOW_S + PANE_S / 2)
TICKS = itertools.count()
"""Of the clock: of two contracts applied at the same moment, neither is the later one."""


@pytest.fixture
def settings(broker: LocalKafka, engine: LocalClickHouse, topic_prefix: str) -> Iterator[Settings]:
    partitions = {"predictions_partitions": 2, "labels_partitions": 3, "partials_partitions": 2}
    with installation(broker, engine, topic_prefix, **partitions) as settings:
        yield settings


CONTRACT = simple_contract()
SOURCES = [(CONTRACT, dump_contract(CONTRACT))]
BASELINE = simple_baseline(rows=1_000)
OTHER = msgspec.structs.replace(BASELINE, source="retrained")


def clock() -> float:
    return NOW_S + next(TICKS) / 1000


def apply(
    settings: Settings, contract: Contract = CONTRACT, *baselines: Baseline, effective_s: int | None = None
) -> Plan:
    sources = [(contract, dump_contract(contract))]
    return apply_all(settings, sources, baselines, effective_s=effective_s, reason="a test", clock=clock)


@pytest.mark.smoke
def test_the_first_apply_creates_what_plan_shows_and_the_second_changes_nothing(settings: Settings) -> None:
    first = plan_all(settings, SOURCES, [BASELINE])
    lines = plan_lines(first)
    assert f"+ database {settings.warehouse.database}" in lines
    topic = f"+ topic {settings.topics.predictions}: 2 partitions, broker timestamps"
    for part in (topic, "applies to all event times"):
        assert any(part in line for line in lines), part
    assert plan_all(settings, SOURCES, [BASELINE]) == first
    assert not TopicAdmin(settings).read([settings.topics.predictions])
    plan = apply(settings, CONTRACT, BASELINE)
    assert (plan.database, len(plan.topics)) == (settings.warehouse.database, 10)
    assert apply(settings, CONTRACT, BASELINE).is_empty
    names = [settings.topics.predictions, settings.topics.labels, settings.topics.partials]
    states = TopicAdmin(settings).read(names)
    predictions, labels, partials = (states[name] for name in names)
    assert [state.partitions for state in (predictions, labels, partials)] == [2, 3, 2]
    for source in (predictions, labels):
        assert source.config["message.timestamp.type"] == "LogAppendTime"
        assert source.config["max.message.bytes"] == str(1 << 20)
    with connect(settings.warehouse) as client:
        (row,) = queries.contracts(client)
        assert (row.model, row.contract_id, row.yaml) == (CONTRACT.model, CONTRACT.id, dump_contract(CONTRACT))
        (accepted,) = queries.baselines(client)
        stored = accepted.baseline_id, accepted.effective_from.timestamp(), accepted.reason
        assert stored == (BASELINE.id, 0, "a test")
        recorded = {topic.name: (topic.topic_id, topic.partitions) for topic in queries.topics(client)}
        assert len(recorded) == 10
        assert recorded[settings.topics.partials] == (partials.topic_id, 2)


def test_the_next_apply_completes_an_interrupted_one_and_resets_a_changed_topic(settings: Settings) -> None:
    apply(settings, CONTRACT, BASELINE)
    with connect(settings.warehouse) as client:
        client.command("TRUNCATE TABLE topics")
        client.command("TRUNCATE TABLE contracts")
    topics, admin = settings.topics, AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    admin.delete_topics([topics.labels_dead])[topics.labels_dead].result()
    plan = apply(settings, CONTRACT, BASELINE)
    assert [change.spec.name for change in plan.topics] == [topics.labels_dead]
    assert len(plan.topic_records) == 9
    assert not plan.baselines
    assert apply(settings, CONTRACT, BASELINE).is_empty
    changed = {"message.timestamp.type": "CreateTime", "retention.ms": "1000000"}
    TopicAdmin(settings).configure(topics.predictions, changed)
    lines = plan_lines(apply(settings, CONTRACT, BASELINE))
    assert lines == [f"~ topic {topics.predictions}: message.timestamp.type CreateTime → LogAppendTime"]
    config = TopicAdmin(settings).read([topics.predictions])[topics.predictions].config
    assert (config["message.timestamp.type"], config["retention.ms"]) == ("LogAppendTime", "1000000")


def test_a_replacement_baseline_applies_from_a_future_pane(settings: Settings) -> None:
    apply(settings, CONTRACT, BASELINE)
    for effective_s, advice in (
        (NEXT_PANE_S + PANE_S + 1, f"is not the start of a pane of toy.*use {utc_second(NEXT_PANE_S + 2 * PANE_S)}"),
        (NEXT_PANE_S - PANE_S, f"is in the past, or too soon.*use {utc_second(NEXT_PANE_S)} or later"),
    ):
        with pytest.raises(ApplyError, match=advice):
            apply(settings, CONTRACT, OTHER, effective_s=effective_s)
    # A pane that begins within the lead time is skipped.
    (late,) = plan_all(settings, SOURCES, [OTHER], clock=lambda: NEXT_PANE_S - MIN_LEAD_S + 1).baselines
    assert late.effective_from_s == NEXT_PANE_S + PANE_S
    (change,) = apply(settings, CONTRACT, OTHER).baselines
    assert (change.replaces, change.effective_from_s) == (BASELINE.id, NEXT_PANE_S)
    assert apply(settings, CONTRACT, OTHER).is_empty
    # Going back to the first is another change, from a future pane.
    (back,) = apply(settings, CONTRACT, BASELINE, effective_s=NEXT_PANE_S + PANE_S).baselines
    assert back.replaces == OTHER.id
    with connect(settings.warehouse) as client:
        ids = [row.baseline_id for row in queries.baselines(client, CONTRACT.model)]
    assert ids == [BASELINE.id, OTHER.id, BASELINE.id]


def test_a_contract_and_its_baseline_must_fit_before_any_change(settings: Settings) -> None:
    misfit = msgspec.structs.replace(BASELINE, fields=BASELINE.fields[:-1])
    with pytest.raises(ApplyError, match=r"does not fit the contract: field .* the baseline does not have it"):
        apply(settings, CONTRACT, misfit)
    assert not TopicAdmin(settings).read([settings.topics.partials])
    apply(settings, CONTRACT, BASELINE)
    with pytest.raises(ApplyError, match=r"cannot change.*rename the model"):
        apply(settings, msgspec.structs.replace(CONTRACT, pane_s=CONTRACT.pane_s // 2), BASELINE)
    shorter = msgspec.structs.replace(CONTRACT, fields=CONTRACT.fields[:-1])
    with pytest.raises(ApplyError, match="does not fit the baseline of version"):
        apply(settings, shorter)
    other = msgspec.structs.replace(CONTRACT, model="another")
    another = plan_all(settings, [(other, "")])
    assert any("another has no baseline yet: its predictions are counted" in note for note in another.notes)
    assert [(each.baseline.version, each.baseline.rows) for each in another.baselines] == [("none", 0)]
    with_rows = plan_all(settings, [(other, "")], [msgspec.structs.replace(BASELINE, model="another")])
    assert [each.baseline.version for each in with_rows.baselines] == [BASELINE.version]
    assert not any("no baseline yet" in note for note in with_rows.notes)
    # A change is shown key by key.
    changed = msgspec.structs.replace(CONTRACT, lateness_s=300, owners=("ada",))
    lines = plan_lines(apply(settings, changed, BASELINE))
    assert lines == ["~ contract of toy", '    ~ owners: [] → ["ada"]', "    ~ lateness: 10m → 5m"]
    with connect(settings.warehouse) as client:
        (row,) = queries.contracts(client)
    assert row.contract_id == changed.id
    # A contract that fits only the new baseline is applied with a note.
    plan = apply(settings, shorter, misfit)
    assert (len(plan.contracts), len(plan.baselines)) == (1, 1)
    note, impact, _ = plan.notes
    assert "until its new baseline takes effect, the previous one does not fit the contract (field colour:" in note
    assert impact == "field colour of toy is removed: it has no declared reader, and not all others are known."
    assert apply(settings, shorter, misfit).is_empty


def test_predictions_get_partitions_labels_and_partials_keep_theirs(settings: Settings) -> None:
    apply(settings, CONTRACT, BASELINE)
    wider = dataclasses.replace(settings, predictions_partitions=5, labels_partitions=5)
    plan = apply(wider, CONTRACT, BASELINE)
    assert plan_lines(plan)[0] == f"~ topic {settings.topics.predictions}: 2 → 5 partitions"
    assert any("labels keeps its 3 partitions" in note for note in plan.notes)
    assert apply(wider, CONTRACT, BASELINE).is_empty
    with connect(settings.warehouse) as client:
        assert {row.name: row.partitions for row in queries.topics(client)}[settings.topics.predictions] == 5
    fewer = apply(settings, CONTRACT, BASELINE)
    assert fewer.is_empty
    assert any("Kafka cannot remove partitions" in note for note in fewer.notes)
    with pytest.raises(ApplyError, match="set partials_partitions to 2"):
        apply(dataclasses.replace(settings, partials_partitions=3), CONTRACT, BASELINE)
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    admin.create_partitions([NewPartitions(settings.topics.partials, 3)])[settings.topics.partials].result()
    with pytest.raises(ApplyError, match="has 3 partitions in Kafka but was created with 2"):
        wait_for(lambda: apply(settings, CONTRACT, BASELINE) and None, "the broker to show the third partition")


@pytest.fixture
def folder(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    servers = kafka_lines(settings.bootstrap_servers, settings.topic_prefix)
    enter_folder(tmp_path, monkeypatch, settings.warehouse, servers)
    (tmp_path / "toy.yaml").write_text(dump_contract(CONTRACT))
    (tmp_path / "toy.1.baseline.json").write_bytes(dump_baseline(BASELINE))
    (tmp_path / "toy.2.1.baseline.json").write_bytes(dump_baseline(msgspec.structs.replace(BASELINE, model="toy.2")))
    return tmp_path


def test_plan_apply_and_plan_again(folder: Path, settings: Settings, output_of: OutputOf) -> None:
    assert "Nothing was changed." in output_of(EXIT_CHANGES, "plan", "toy.yaml")
    assert f"+ baseline {BASELINE.id} of toy version 1" in output_of(EXIT_OK, "apply", "toy.yaml", "--reason", "first")
    assert "Nothing to do" in output_of(EXIT_OK, "plan", "toy.yaml")
    with connect(settings.warehouse) as client:
        assert [(row.model, row.reason) for row in queries.baselines(client)] == [("toy", "first")]
    (folder / "toy.1.baseline.json").write_bytes(dump_baseline(OTHER))
    for option, value, error in (
        ("--effective", "2026-01-01T00:30:00Z", "is not the start of a pane of toy"),
        ("--effective", "noon", "write date, time in whole seconds and offset"),
        ("--baseline", "nix.json", "The baseline nix.json cannot be read: no such file or directory.\n"),
    ):
        output = output_of(EXIT_FAILED, "apply", "toy.yaml", option, value)
        assert error in output
        assert output.count("\n") == 1, output


@pytest.fixture
def grafana(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubGrafana]:
    with StubGrafana() as stub:
        monkeypatch.setenv("BAROGRAPH_GRAFANA_URL", stub.url)
        monkeypatch.setenv("BAROGRAPH_GRAFANA_TOKEN", TOKEN)
        monkeypatch.setenv("ALERTS_WEBHOOK_URL", "http://alerts.invalid")
        yield stub


def test_the_commands_deploy_to_grafana_and_report_edits(
    folder: Path, grafana: StubGrafana, settings: Settings, output_of: OutputOf
) -> None:
    assert "+ Grafana: folder Barograph" in output_of(EXIT_CHANGES, "plan", "toy.yaml")
    assert grafana.writes == []
    assert "+ Grafana: data source Barograph" in output_of(EXIT_OK, "apply", "toy.yaml")
    assert len(grafana.state.dashboards) == len(DASHBOARDS)
    assert {title.split(" (")[0] for _, title in grafana.state.groups} == {CONTRACT.model, "Pipeline"}
    written = len(grafana.writes)
    for words in (["plan"], ["apply"], ["plan", "toy.yaml"], ["apply", "toy.yaml"]):
        assert "Nothing to do" in output_of(EXIT_OK, *words)
    assert grafana.writes[written:] == []
    grafana.state.edit_source("barograph", lambda source: source["jsonData"].update(host="elsewhere"))
    for words in (["plan"], ["apply"]):
        error = output_of(EXIT_FAILED, *words)
        assert 'The data source Barograph in Grafana reads another ClickHouse (~ host: "elsewhere" → ' in error
    assert grafana.writes[written:] == []
    assert "~ Grafana: data source Barograph" in output_of(EXIT_OK, "apply", "--overwrite-grafana")
    output_of(EXIT_OK, "plan")
    written = len(grafana.writes)
    source = grafana.state.sources["barograph"]["jsonData"]
    del source["barograph"]["dashboard/barograph-fleet"]
    grafana.state.edit_dashboard("barograph-fleet", lambda board: board.update(title="Ships"))
    output = output_of(EXIT_CHANGES, "plan")
    assert "! Grafana: dashboard Barograph / Fleet exists and was not applied from here (by anna" in output
    assert "`barograph apply` would not change these objects." in output
    output = output_of(EXIT_FAILED, "apply")
    assert "Applied" not in output
    assert "Skipped: Grafana: dashboard Barograph / Fleet exists and was not applied from here (by anna" in output
    assert output.endswith("--overwrite-grafana takes it over.\n")
    assert grafana.writes[written:] == []


def test_an_unusable_grafana_stops_apply_before_any_change(
    folder: Path, grafana: StubGrafana, settings: Settings, monkeypatch: pytest.MonkeyPatch, output_of: OutputOf
) -> None:
    def assert_stopped(text: str) -> None:
        assert text in output_of(EXIT_FAILED, "apply", "toy.yaml")
        assert not TopicAdmin(settings).read([settings.topics.predictions])
        assert grafana.writes == []

    grafana.token = "another"
    assert_stopped("service account")
    grafana.token = TOKEN
    grafana.state.permissions = READER_PERMISSIONS
    assert_stopped("service account")
    monkeypatch.delenv("ALERTS_WEBHOOK_URL")
    assert_stopped("contact points need variables that are not set: ALERTS_WEBHOOK_URL")
    monkeypatch.setenv("BAROGRAPH_GRAFANA_URL", "")
    output_of(EXIT_OK, "apply", "toy.yaml")


def test_a_codebook_is_stored_with_the_contract_that_names_it(settings: Settings, tmp_path: Path) -> None:
    codebook, other = (codebook_of(EmbeddingName("mine", "1", 2), topic, "t1") for topic in ("t0", "other"))
    contract = simple_contract(text=Text(codebook=codebook.id))
    path = tmp_path / "toy.yaml"
    path.write_text(dump_contract(contract), encoding="utf-8")
    pairs, baselines, codebooks = read_inputs([path])
    with pytest.raises(ApplyError, match=f"names the codebook {codebook.id}, which is not stored"):
        apply_all(settings, pairs, baselines, codebooks)
    for each in (codebook, other):
        (tmp_path / f"{each.id}.codebook.npz").write_bytes(each.dump())
    inputs = read_inputs([path])
    assert [each.id for each in inputs[2]] == [codebook.id], "others next to the contract are left alone"
    assert f"+ codebook {codebook.id}: 2 topics" in plan_lines(apply_all(settings, *inputs))
    assert plan_all(settings, *inputs).is_empty
    with connect(settings.warehouse) as client:
        stored = queries.codebooks(client, [codebook.id, other.id])
    assert parse_codebook(stored.pop(codebook.id), "stored").id == codebook.id
    assert not stored
    assert plan_all(settings, pairs).is_empty, "a stored codebook is not needed again"
