"""`load`, `status` and `query` against a real broker and a real engine."""

import io
import json
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from barograph.contract import Contract, LabelSpec
from barograph.contract.file import dump_contract
from barograph.events import ARROW_CONTENT_TYPE

from barograph_server.batch.backfill import check
from barograph_server.cli.query import LIMITS
from barograph_server.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE
from barograph_server.local.child_process import choose_port
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.local.kafka import LocalKafka
from barograph_server.provisioning import apply_all
from barograph_server.settings import Settings
from barograph_server.streams.topics import partials_partition
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.retention import apply_ttls
from barograph_server.warehouse.tables import insert_rows
from tests.support import scoring
from tests.support.command_line import OutputOf, run
from tests.support.environment import enter_folder, installation, kafka_lines
from tests.support.pipeline import Pipeline, read_topic, simple_baseline, simple_contract
from tests.support.warehouse import add_row, add_rows, insert, row

CONTRACT = simple_contract()
NOW_S, DAY_S = int(time.time()) // 3600 * 3600, 86_400


@contextmanager
def applied(broker: LocalKafka, engine: LocalClickHouse, prefix: str) -> Iterator[Settings]:
    with installation(broker, engine, prefix, predictions_partitions=2, labels_partitions=2) as settings:
        apply_all(settings, [(CONTRACT, dump_contract(CONTRACT))], [simple_baseline(rows=1000)])
        yield settings


def enter(settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    servers = kafka_lines(settings.bootstrap_servers, settings.topic_prefix)
    enter_folder(folder, monkeypatch, settings.warehouse, servers)
    Path("toy.yaml").write_text(dump_contract(CONTRACT))


@pytest.fixture
def settings(
    broker: LocalKafka, engine: LocalClickHouse, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """An applied pipeline of the test's own, configured in the current folder."""
    with applied(broker, engine, topic_prefix) as settings:
        enter(settings, tmp_path, monkeypatch)
        yield settings


@pytest.fixture(scope="module")
def shared(broker: LocalKafka, engine: LocalClickHouse) -> Iterator[Settings]:
    with applied(broker, engine, f"t{uuid.uuid4().hex[:10]}-") as settings:
        yield settings


@pytest.fixture
def pipeline_settings(shared: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    enter(shared, tmp_path, monkeypatch)
    return shared


def events(messages: list[Any]) -> tuple[list[dict[str, Any]], int]:
    rows: list[dict[str, Any]] = []
    markers = 0
    for message in messages:
        headers = dict(message.headers() or [])
        if "barograph-mark" in headers:
            assert headers["barograph-mark"] == b"end"
            markers += 1
        else:
            assert headers["content-type"] == ARROW_CONTENT_TYPE
            rows += pa.ipc.open_stream(io.BytesIO(message.value())).read_all().to_pylist()
    return rows, markers


def write_predictions(path: str, n: int = 2500, **columns: Any) -> None:
    at = pa.array([NOW_S * 1000 + i for i in range(n)]).cast(pa.timestamp("ms", "UTC"))
    rows = {"id": [f"r{i}" for i in range(n)], "at": at, "x": [i / 10 for i in range(n)], **columns}
    pq.write_table(pa.table(rows), path)


def load(output_of: OutputOf, code: int, *words: str, version: str = "1") -> str:
    # On a machine that runs other tests, counting takes longer than a user would wait.
    patience = () if "--timeout" in words or "--no-wait" in words else ("--timeout", "280")
    return output_of(code, "load", *words, *patience, "--contract", "toy.yaml", "--version", version)


def test_load_publishes_each_row_once_and_then_end_markers(settings: Settings, output_of: OutputOf) -> None:
    write_predictions("p.parquet", region=["north"] * 2500)
    labels = pa.table({"id": [f"r{i}" for i in range(0, 2500, 2)], "label": [True] * 1250})
    pq.write_table(labels, "l.parquet")
    errors = load(output_of, EXIT_OK, "p.parquet", "l.parquet", "--end", "--no-wait", version="7")
    assert "p.parquet: missing columns, counted as null: features.k, features.flag" in errors
    assert "p.parquet: published 2,500 predictions in" in errors
    assert "l.parquet: published 1,250 labels in" in errors
    assert "Wrote end markers to all partitions." in errors
    rows, markers = events(read_topic(settings.bootstrap_servers, settings.topics.predictions))
    assert markers == 2
    assert sorted(row["id"] for row in rows) == sorted(f"r{i}" for i in range(2500))
    assert {(row["model"], row["version"], row["context.region"]) for row in rows} == {("toy", "7", "north")}
    rows, markers = events(read_topic(settings.bootstrap_servers, settings.topics.labels))
    assert markers == 2
    assert sorted(row["id"] for row in rows) == sorted(labels.column("id").to_pylist())


def test_invalid_rows_are_skipped_and_an_invalid_file_stops_the_load(settings: Settings, output_of: OutputOf) -> None:
    write_predictions("p.parquet")
    pq.write_table(pa.table({"id": ["a"]}), "q.parquet")
    assert "q.parquet has no column at" in load(output_of, EXIT_FAILED, "p.parquet", "q.parquet")
    errors = load(output_of, EXIT_FAILED, "p.parquet", version="a\nb")
    assert "Version 'a\\nb' contains a control character or a line break; remove it.\n" in errors
    assert read_topic(settings.bootstrap_servers, settings.topics.predictions) == []
    write_predictions("p.parquet", 3, id=["a", None, ""])
    assert "Skipped 2 rows without id, time or label." in load(output_of, EXIT_FAILED, "p.parquet", "--no-wait")
    rows, markers = events(read_topic(settings.bootstrap_servers, settings.topics.predictions))
    assert ([each["id"] for each in rows], markers) == (["a"], 0)
    config = Path("barograph.toml").read_text()
    Path("other.toml").write_text(config.replace(settings.topic_prefix, "never-applied-"))
    errors = load(output_of, EXIT_FAILED, "p.parquet", "--config", "other.toml")
    assert "the topic never-applied-predictions does not exist" in errors


def test_an_interrupted_load_reports(settings: Settings, output_of: OutputOf, monkeypatch: pytest.MonkeyPatch) -> None:
    write_predictions("p.parquet")
    write_predictions("q.parquet")
    read_all = check.read_blocks

    def interrupt(source: check.EventSource, *arguments: Any) -> Iterator[Any]:
        if source.file.path.name == "q.parquet":
            raise KeyboardInterrupt
        yield from read_all(source, *arguments)

    monkeypatch.setattr("barograph_server.batch.backfill.backfill.read_blocks", interrupt)
    errors = load(output_of, EXIT_INTERRUPTED, "p.parquet", "q.parquet", "--no-wait")
    assert "2,500 predictions were read from the files; Kafka acknowledged 2,500 events, 0 were not" in errors
    named = re.findall(r"predictions partition (\d): offsets (\d+) to (\d+)", errors)
    sent = read_topic(settings.bootstrap_servers, settings.topics.predictions)
    assert {(int(partition), int(start), int(end)) for partition, start, end in named} == {
        (partition, min(offsets), max(offsets))
        for partition in (0, 1)
        if (offsets := [message.offset() for message in sent if message.partition() == partition])
    }


def test_query_answers_in_every_format(pipeline_settings: Settings, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    sql = "SELECT 18446744073709551615 AS n, 'é' AS text, nan AS nothing, [1, 2] AS list, NULL AS none"

    def answer(form: str) -> bytes:
        assert run("query", sql, "--format", form) == EXIT_OK
        return capfdbinary.readouterr().out

    header, row = answer("table").decode().splitlines()
    assert header.split() == ["n", "text", "nothing", "list", "none"]
    assert row.split() == ["18446744073709551615", "é", "nan", "[1,", "2]"]
    assert json.loads(answer("json")) == [
        {"n": 18446744073709551615, "text": "é", "nothing": None, "list": [1, 2], "none": None}
    ]
    assert answer("csv").decode() == '"n","text","nothing","list","none"\n18446744073709551615,"é",nan,"[1,2]",\\N\n'
    assert pa.ipc.open_stream(answer("arrow")).read_all().column("text").to_pylist() == ["é"]


def test_query_cannot_change_anything_and_an_error_is_one_line(
    pipeline_settings: Settings, output_of: OutputOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("barograph_server.cli.query.LIMITS", {**LIMITS, "max_execution_time": 1, "max_block_size": 1})
    with connect(pipeline_settings.warehouse) as client:
        before = client.rows("SELECT * FROM topics ORDER BY name")
        for sql, message in (
            ("SELEC 1", "refused to answer the query: Syntax error: failed at position 1 (SELEC)"),
            ("SELECT nope FROM topics", "(code 47). docs/tables.md lists tables and columns: correct the name"),
            ("SELECT * FROM nowhere", "(code 60). docs/tables.md lists tables and columns: correct the name"),
            ("SELECT 1 INTO OUTFILE 'x'", "does not allow INTO OUTFILE. (code 164). `barograph query` is read-only."),
            ("SELECT sleepEachRow(0.5) FROM numbers(10)", "took too long"),
            ("INSERT INTO topics VALUES ('x', 'y', 1, now64(3))", "(code "),
            ("DROP TABLE topics", "(code "),
            ("CREATE TABLE mine (a UInt8) ENGINE = Memory", "(code "),
            ("SET readonly = 0", "(code "),
            ("SELECT 1; DROP TABLE topics", "(code "),
            ("SELECT * FROM file('/etc/hostname', LineAsString)", "(code "),
        ):
            errors = output_of(EXIT_FAILED, "query", sql)
            assert message in errors
            assert (errors.count("\n"), len(errors) < 500) == (1, True), errors
        assert client.rows("SELECT * FROM topics ORDER BY name") == before
        assert client.rows("EXISTS TABLE mine") == [(0,)]


def test_a_missing_server_or_database_is_explained(pipeline_settings: Settings, output_of: OutputOf) -> None:
    config = Path("barograph.toml").read_text()
    port = pipeline_settings.warehouse.port
    Path("away.toml").write_text(config.replace(f"port = {port}", f"port = {choose_port()}"))
    Path("missing.toml").write_text(config.replace(pipeline_settings.warehouse.database, "never_applied"))
    for command in (("status",), ("query", "SELECT 1")):
        assert "Check that the server runs" in output_of(EXIT_FAILED, *command, "--config", "away.toml")
        assert "has no database 'never_applied'. Run `barograph apply`" in output_of(
            EXIT_FAILED, *command, "--config", "missing.toml"
        )


def processor(kind: str, age_s: float, **changes: Any) -> dict[str, Any]:
    at_ms = int((time.time() - age_s) * 1000)
    reported = {"instance": "one", "host": "h", "lag": 12345, "events": 1000, "rate": 99.6, "dead_letters": 3}
    return row("processors", kind=kind, at=at_ms, **reported | {"last_commit_at": at_ms - 5000} | changes)


def test_status_shows_models_processors_and_losses(settings: Settings, output_of: OutputOf) -> None:
    """Of a model with verdicts, a reporting and a silent processor, and a lost range."""
    at_ms = NOW_S * 1000
    counted = {"model": "toy", "version": "1", "baseline_id": "b", "slice": "all", "record_seq": 10}
    judged = {**counted, "field": "x", "window": "3h", "window_end": NOW_S, "judged_at": at_ms, "completeness": 1.0}
    psi = {**judged, "psi": 0.01, "psi_low": 0.0, "psi_high": 0.02, "level": "stable"}
    few = {"level": "insufficient", "reason": "too few events", "psi": float("nan"), "readings": 90.2}
    few |= {"readings_needed": 367.2}
    drift: list[dict[str, Any]] = [
        {},
        {"field": "k", "psi": 0.31, "level": "major", "top_bin": "≥ 3.5", "completeness": 0.875},
        {"field": "k", "window": "1d", "level": "minor"},
        {"field": "flag", "window_end": NOW_S - 3600, "level": "major"},
        {"field": "flag", **few},
        {"field": "age", **few, "mean_rank": 0.7, "mean_p": 1e-6},
        {"field": "speed", **few, "mean_rank": 0.5, "mean_p": 0.5},
        {"field": "colour", "slice": "region=north", "level": "major"},
    ]
    rate = {**judged, "kind": "null", "k": 90, "n": 900, "rate": 0.1, "baseline_rate": 0.0, "delta": 0.1}
    error_rate = {"field": "events", "kind": "error", "level": "stable"}
    progress = {"model": "toy", "watermark": at_ms, "sealed_until": at_ms, "updated_at": at_ms, "record_seq": 10}
    lost = {"source_partition": 1, "start_offset": 1000, "end_offset": 3500, "reason": "retention"}
    lost_at = {"from_time": at_ms - 60_000, "to_time": at_ms, "recorded_at": at_ms}
    with connect(settings.warehouse) as client:
        add_rows(client, "drift", drift, **psi)
        add_rows(client, "rates", [{"level": "major"}, error_rate], **rate)
        reports = [processor("sketcher", 5), processor("monitor", 95, lag=-1, last_commit_at=0)]
        insert_rows(client, "processors", reports)
        add_row(client, "progress", **progress)
        add_row(client, "volume", **counted, pane_start=NOW_S - 3600, pane_s=3600, n=900, sealed=True)
        add_row(client, "losses", **lost, **lost_at)
    output = output_of(EXIT_OK, "status")
    words = [line.split() for line in output.splitlines()]
    sealed = time.strftime("%Y-%m-%d %H:%M", time.gmtime(NOW_S))
    (model,) = [line for line in words if line[:2] == ["toy", "1"]]
    # Latest verdict of each field and window on slice all, rates included but that of errors.
    assert model[-7:] == [*sealed.split(), "87.50%", "1", "1", "2", "3"]
    assert f"major  toy 1  k, 3h to {sealed}: PSI 0.310 [0.000, 0.020], most in ≥ 3.5" in output
    assert f"major  toy 1  x null, 3h to {sealed}: 10.0% instead of 0.0%" in output
    undecided = f"3h to {sealed}: too few events: 90 of 368 independent readings, about 5 such windows"
    unlike = "unlike training"
    assert f"{unlike}  toy 1  age, {undecided}; mean rank 0.70 instead of 0.50 (p 1e-06): {unlike}\n" in output
    assert f"insufficient  toy 1  flag, {undecided}\n" in output
    assert "speed" not in output, "like training"
    each = "too few events 1, too few events (like training) 1"
    assert f"insufficient  toy 1  too few events (unlike training) 1, {each}\n" in output
    (sketcher,) = [line for line in words if line[:1] == ["sketcher"]]
    assert [*sketcher[:7], sketcher[-1]] == ["sketcher", "one", "12,345", "100", "1,000", "3", "0", "reporting"]
    (monitor,) = [" ".join(line) for line in words if line[:1] == ["monitor"]]
    assert "unknown" in monitor
    assert re.search(r"never silent for \d+ s", monitor)
    assert "2,500 offsets of the source topic lost." in output
    status = json.loads(output_of(EXIT_OK, "status", "--format", "json"))
    (facts,) = status["models"]
    assert facts["levels"] == {"stable": 1, "minor": 1, "major": 2, "insufficient": 3}
    assert [row["field"] for row in facts["undecided"]] == ["age", "flag"]
    assert facts["completeness"] == 0.875
    assert {each["field"] for each in facts["major"]} == {"k", "x"}
    assert {each["kind"]: each["silent"] for each in status["processors"]} == {"sketcher": False, "monitor": True}
    assert [each["offsets"] for each in status["losses"]] == [2500]


def test_status_replays_each_model_from_its_incidents_to_its_end(
    client: Client, config: str, output_of: OutputOf
) -> None:
    moved = {"ended": NOW_S - 150 * DAY_S, "newer": NOW_S - 75 * DAY_S}
    for model, since in moved.items():
        scoring.register(client, simple_contract(model=model), applied_at=0)
        drift, rates = [], []
        for at in range(since - 5 * DAY_S, NOW_S - 100 * DAY_S * (model == "ended"), 10_800):
            common = {"model": model, "version": "1", "baseline_id": "b", "slice": "all", "window_end": at, "n": 900}
            common |= {"judged_at": NOW_S * 1000, "record_seq": at, "completeness": 1.0, "phi": 1.0}
            value = {"psi": 0.7, "psi_low": 0.6, "level": "major"} if at >= since else {"psi": 0.01, "level": "stable"}
            drift += [row("drift", **common, field="x", window=window, **value) for window in ("3h", "1d")]
            rates.append(row("rates", **common, field="events", kind="error", window="1d", level="stable"))
        insert(client, drift=drift, rates=rates)
    incidents = json.loads(output_of(EXIT_OK, "status", "--format", "json", "--config", config))["incidents"]
    opened = {each["model"]: each["opened_at"] for each in incidents if each["model"]}
    assert opened == {model: pytest.approx(since, abs=DAY_S) for model, since in moved.items()}


def test_status_lists_a_model_without_events(pipeline_settings: Settings, output_of: OutputOf) -> None:
    output = output_of(EXIT_OK, "status")
    (model,) = [line.split() for line in output.splitlines() if line.startswith("toy")]
    assert model == ["toy", "none", "yet", "never", "never", "0", "0", "0", "0"]
    assert "No processor has reported yet" in output


N = 2_000
LABEL = LabelSpec(type="bool", positive=True, horizon_s=2 * 86_400)


def enter_pipeline(pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch, contract: Contract) -> None:
    lines = kafka_lines(pipeline.bootstrap, pipeline.prefix), f"partials_partitions = {pipeline.partials_partitions}"
    enter_folder(folder, monkeypatch, pipeline.address, *lines)
    Path("toy.yaml").write_text(dump_contract(contract))


def write_recent(path: str, ids: range, **columns: Any) -> np.ndarray:
    start_ms = (int(time.time()) // 3600 - 30) * 3_600_000
    at_ms = start_ms + np.arange(len(ids)) * 20_000
    rng = np.random.default_rng(3)
    rows = {
        "id": [f"e{i}" for i in ids],
        "at": pa.array(at_ms),
        "x": rng.normal(size=len(ids)),
        "k": rng.integers(0, 5, len(ids)),
        "flag": rng.random(len(ids)) < 0.5,
        "colour": rng.choice(["red", "green", "blue"], len(ids)),
        "score": rng.random(len(ids)),
        **columns,
    }
    pq.write_table(pa.table(rows), path)
    return at_ms


def write_labels(path: str, ids: range, at_ms: np.ndarray, label: list[Any]) -> None:
    pq.write_table(pa.table({"id": [f"e{i}" for i in ids], "label": label, "at": pa.array(at_ms + 60_000)}), path)


def test_load_accounts_for_every_event_and_fails_on_what_is_lost(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output_of: OutputOf
) -> None:
    contract = simple_contract(label=LABEL)
    enter_pipeline(pipeline, tmp_path, monkeypatch, contract)
    pipeline.create(source_partitions=2)
    # Before the contract is applied every event would become a dead letter: nothing is sent.
    at_ms = write_recent("good.parquet", range(N))
    assert "The contract of toy is not applied" in load(output_of, EXIT_USAGE, "good.parquet")
    assert pipeline.read_all(pipeline.topics.predictions) == []
    pipeline.register(contract, [simple_baseline()])
    pipeline.start_all("sketcher", "recorder", "monitor")
    pipeline.start("scorer", score_s=0.5)
    write_labels("labels.parquet", range(N // 2), at_ms[: N // 2], [i % 3 == 0 for i in range(N // 2)])
    write_recent("shadows.parquet", range(40), role=["shadow"] * 40)
    errors = load(output_of, EXIT_OK, "good.parquet", "shadows.parquet", "labels.parquet")
    assert "shadows: 40 sent, 40 stored (they never count for the model)\n" in errors
    assert "predictions: 2,000 sent = 2,000 counted + 0 dead-lettered\n" in errors
    assert "labels: 1,000 sent = 1,000 matched + 0 unmatched + 0 dead-lettered\n" in errors
    assert "See:" not in errors
    assert "not yet known" not in errors
    # One column holds text in the place of numbers, some labels have no prediction, and the others the wrong type:
    # the file has another contract than the processors.
    Path("toy.yaml").write_text(dump_contract(simple_contract(label=LabelSpec(type="category", positive="paid"))))
    ids = range(N, 2 * N)
    at_ms = write_recent("bad.parquet", ids, x=["n/a"] * N)
    write_labels("bad-labels.parquet", range(N + 100, 2 * N + 100), at_ms, ["paid"] * N)
    errors = load(output_of, EXIT_FAILED, "bad.parquet", "bad-labels.parquet")
    assert "The contract of toy in force differs from this file" in errors
    assert "predictions: 2,000 sent = 2,000 counted + 0 dead-lettered\n" in errors
    assert "  x: 2,000 invalid values, 100% of the predictions\n" in errors
    assert "labels: 2,000 sent = 1,900 matched + 100 unmatched + 0 dead-lettered\n" in errors
    assert "  1,900 labels of the wrong type (not measured)\n" in errors
    assert "95.00%: 1,900 labels of the wrong type. See:" in errors
    assert "5.00%: 100 labels without a prediction. See:" in errors
    assert "Exit code 1: more than 0.01 of the events (--max-rejected)." in errors
    # The commands that show why can be run as they are printed.
    queries = re.findall(r'    barograph query "(.*)"', errors)
    assert any("string" in output for output in [output_of(EXIT_OK, "query", sql) for sql in queries])
    # A dead letter is named by its reason, in `load`, `status` and `doctor`.
    write_recent("old.parquet", range(2 * N, 3 * N), at=pa.array(np.arange(N) + 946_684_800_000))  # in 2000
    # The tables keep them, and the processors have another setting.
    monkeypatch.setenv("BAROGRAPH_RETENTION_DAYS", "10000")
    with pipeline.client as client:
        apply_ttls(client, 10_000)
    errors = load(output_of, EXIT_FAILED, "old.parquet")
    assert "predictions: 2,000 sent = 0 counted + 2,000 dead-lettered (too-old 2,000)\n" in errors
    assert "    barograph dead-letters show --model toy --topic predictions --since 1h\n" in errors
    assert re.search(r"toy +dead letters, predictions too-old +2,000 +20\d\d-", output_of(EXIT_OK, "status"))
    assert "toy: 2,000 dead letters (predictions too-old) since 20" in output_of((EXIT_OK, EXIT_FAILED), "doctor")
    # A table of predictions with labels is both; a null is a label that is not known yet.
    Path("toy.yaml").write_text(dump_contract(contract))
    outcome = [None if i % 4 == 0 else i % 3 == 0 for i in range(100)]
    write_recent("both.parquet", range(3 * N, 3 * N + 100), outcome=outcome)
    errors = load(output_of, EXIT_OK, "both.parquet", "--label", "outcome", "--label-delay", "90s")
    assert "the column outcome has the labels of 75 of 100 rows, which are sent with the time of the" in errors
    assert "predictions: 100 sent = 100 counted + 0 dead-lettered\n" in errors
    assert "labels: 75 sent = 75 matched + 0 unmatched + 0 dead-lettered\n" in errors
    assert pipeline.rows(
        "SELECT count(), min(l.at - p.at), max(l.at - p.at) FROM labels AS l JOIN all_predictions AS p ON l.id = p.id "
        f"WHERE l.id >= 'e{3 * N}' AND length(l.id) = 5"
    ) == [(75, 90, 90)]


def test_without_processors_the_account_says_what_is_not_known(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output_of: OutputOf
) -> None:
    contract = simple_contract(label=LABEL)
    enter_pipeline(pipeline, tmp_path, monkeypatch, contract)
    pipeline.prepare(contract)
    assert partials_partition("toy", pipeline.partials_partitions) in range(2)
    at_ms = write_recent("p.parquet", range(10))
    write_labels("l.parquet", range(10), at_ms, [True] * 10)
    errors = load(output_of, EXIT_FAILED, "p.parquet", "l.parquet", "--timeout", "0.5")
    assert "predictions: 10 sent = 0 counted + 0 dead-lettered\n" in errors
    assert "not yet known: 1 message of predictions not yet counted by sketcher and monitor.\n" in errors
    assert "not yet known: 10 labels not yet recorded.\n" in errors
    assert "The account is not complete: no monitor, recorder, sketcher reports." in errors
    # Labels that are counted are not yet judged: a pass of the scorer writes its status last.
    not_judged = "not yet known: performance with these labels: the scorer has counted them and judges the windows."
    assert not_judged not in errors
    with pipeline.client as client:
        add_row(client, "performance_state", model="toy", window_start=int(time.time()), scored_at=2_000)
        assert not_judged in load(output_of, EXIT_FAILED, "l.parquet", "--timeout", "0")
        add_row(client, "scorer_models", model="toy", state="scored", updated_at=2_000)
        assert not_judged not in load(output_of, EXIT_FAILED, "l.parquet", "--timeout", "0")
    assert "what became of the events is not known" in load(output_of, EXIT_OK, "p.parquet", "--no-wait")
