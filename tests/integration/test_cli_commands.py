"""`load`, `status` and `query` against a real broker and a real engine."""

import dataclasses
import io
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from barograph.contract.file import dump_contract
from barograph.events import ARROW_CONTENT_TYPE
from confluent_kafka import Consumer, TopicPartition

from cli.apply import apply_all
from cli.errors import EXIT_FAILED, EXIT_OK
from cli.main import main
from cli.settings import Settings
from local.child_process import choose_port
from local.clickhouse import LocalClickHouse
from local.kafka import LocalKafka
from tests.support.pipeline import simple_baseline, simple_contract
from warehouse.client import Address, Client, connect
from warehouse.tables import insert_rows

CONTRACT = simple_contract()
NOW_S = int(time.time()) // 3600 * 3600


def make_pipeline(broker: LocalKafka, engine: LocalClickHouse, database: str, prefix: str) -> Settings:
    settings = Settings(
        bootstrap_servers=broker.bootstrap_servers,
        topic_prefix=prefix,
        warehouse=Address(engine.host, engine.port, database),
        predictions_partitions=2,
        labels_partitions=2,
    )
    apply_all(settings, [(CONTRACT, dump_contract(CONTRACT))], [simple_baseline(rows=1000)])
    return settings


def enter_folder(settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a folder the current one, whose settings name the pipeline; the environment names nothing."""
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("BAROGRAPH_")]:
        monkeypatch.delenv(name)
    address = settings.warehouse
    Path("barograph.toml").write_text(
        f"""
        bootstrap_servers = "{settings.bootstrap_servers}"
        topic_prefix = "{settings.topic_prefix}"
        [clickhouse]
        host = "{address.host}"
        port = {address.port}
        database = "{address.database}"
        """
    )
    Path("toy.yaml").write_text(dump_contract(CONTRACT))


@pytest.fixture
def settings(
    broker: LocalKafka,
    engine: LocalClickHouse,
    topic_prefix: str,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Settings:
    """An applied pipeline of the test's own, and a current folder whose settings name it."""
    settings = make_pipeline(broker, engine, database, topic_prefix)
    enter_folder(settings, tmp_path, monkeypatch)
    return settings


@pytest.fixture(scope="module")
def shared(broker: LocalKafka, engine: LocalClickHouse) -> Iterator[Settings]:
    """An applied pipeline for tests that only ask."""
    name = f"t{uuid.uuid4().hex[:10]}"
    settings = make_pipeline(broker, engine, name, f"{name}-")
    yield settings
    with connect(dataclasses.replace(settings.warehouse, database="default")) as client:
        client.command(f"DROP DATABASE {name}")


@pytest.fixture
def asked(shared: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The shared pipeline, and a current folder whose settings name it."""
    enter_folder(shared, tmp_path, monkeypatch)
    return shared


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    with connect(settings.warehouse) as client:
        yield client


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(words)
    return int(end.value.code or 0)


def read_topic(settings: Settings, topic: str) -> list[Any]:
    """Every message of a topic, by partition."""
    consumer = Consumer(
        {"bootstrap.servers": settings.bootstrap_servers, "group.id": "reader", "enable.partition.eof": True}
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    found, ended = [], 0
    while ended < len(partitions):
        message = consumer.poll(10)
        assert message is not None, f"{topic} could not be read"
        if message.error():
            ended += 1
        else:
            found.append(message)
    consumer.close()
    return found


def events(messages: list[Any]) -> tuple[list[dict[str, Any]], int]:
    """The rows of Arrow messages, and how many end marks there are."""
    rows: list[dict[str, Any]] = []
    marks = 0
    for message in messages:
        headers = dict(message.headers() or [])
        if "barograph-mark" in headers:
            assert headers["barograph-mark"] == b"end"
            marks += 1
        else:
            assert headers["content-type"] == ARROW_CONTENT_TYPE
            rows += pa.ipc.open_stream(io.BytesIO(message.value())).read_all().to_pylist()
    return rows, marks


def write_predictions(path: str, n: int = 2500, **columns: Any) -> pa.Table:
    at = pa.array([NOW_S * 1000 + i for i in range(n)]).cast(pa.timestamp("ms", "UTC"))
    rows = {"id": [f"r{i}" for i in range(n)], "at": at, "x": [i / 10 for i in range(n)], **columns}
    pq.write_table(pa.table(rows), path)
    return pa.table(rows)


def test_predictions_and_labels_arrive_each_once_and_then_the_marks(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    write_predictions("p.parquet", region=["north"] * 2500)
    labels = pa.table({"id": [f"r{i}" for i in range(0, 2500, 2)], "label": [True] * 1250})
    pq.write_table(labels, "l.parquet")
    assert run("load", "p.parquet", "l.parquet", "--contract", "toy.yaml", "--version", "7", "--end") == EXIT_OK
    told = capsys.readouterr().err
    assert "p.parquet: not among its columns, so they count as null: features.k, features.flag" in told
    assert "p.parquet: 2,500 predictions in" in told
    assert "l.parquet: 1,250 labels in" in told
    assert "End marks were written to every partition." in told
    rows, marks = events(read_topic(settings, settings.topics.predictions))
    assert marks == 2
    assert sorted(row["id"] for row in rows) == sorted(f"r{i}" for i in range(2500))
    assert {(row["model"], row["version"], row["context.region"]) for row in rows} == {("toy", "7", "north")}
    rows, marks = events(read_topic(settings, settings.topics.labels))
    assert marks == 2
    assert sorted(row["id"] for row in rows) == sorted(labels.column("id").to_pylist())


def test_rows_that_are_no_events_are_left_out_and_make_the_exit_code_1(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    write_predictions("p.parquet", 3, id=["a", None, ""])
    assert run("load", "p.parquet", "--contract", "toy.yaml", "--version", "7") == EXIT_FAILED
    assert "2 rows were left out: they have no id, no time or no label." in capsys.readouterr().err
    rows, marks = events(read_topic(settings, settings.topics.predictions))
    assert ([row["id"] for row in rows], marks) == (["a"], 0)


def test_a_file_that_does_not_do_stops_everything_before_anything_is_sent(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    write_predictions("p.parquet")
    pq.write_table(pa.table({"id": ["a"]}), "q.parquet")
    assert run("load", "p.parquet", "q.parquet", "--contract", "toy.yaml", "--version", "7") == EXIT_FAILED
    assert "q.parquet has no column at" in capsys.readouterr().err
    assert run("load", "p.parquet", "--contract", "toy.yaml", "--version", "a\nb") == EXIT_FAILED
    assert "Version 'a\\nb' holds a control character or a line break; leave it out.\n" in capsys.readouterr().err
    assert read_topic(settings, settings.topics.predictions) == []


def test_load_without_broker_or_topics_says_what_to_do(asked: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    write_predictions("p.parquet", 3)
    config = Path("barograph.toml").read_text()
    Path("other.toml").write_text(config.replace(asked.topic_prefix, "never-applied-"))
    words = ("load", "p.parquet", "--contract", "toy.yaml", "--version", "7", "--config", "other.toml")
    assert run(*words) == EXIT_FAILED
    assert "the topic never-applied-predictions does not exist" in capsys.readouterr().err


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run("query", *words) == EXIT_OK
    return capsys.readouterr().out


def test_an_answer_comes_in_every_format(asked: Settings, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
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
    table = pa.ipc.open_stream(answer("arrow")).read_all()
    assert table.column("text").to_pylist() == ["é"]


def test_a_long_table_ends_and_says_so(asked: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ask(capsys, "SELECT number FROM numbers(5000)").splitlines()
    assert len(lines) == 1 + 1000 + 1
    assert lines[-1].startswith("The first 1,000 rows")
    assert len(json.loads(ask(capsys, "SELECT number FROM numbers(5000)", "--format", "json"))) == 5000


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO topics VALUES ('x', 'y', 1, now64(3))",
        "INSERT INTO topics SELECT * FROM topics",
        "DROP TABLE topics",
        "TRUNCATE TABLE topics",
        "ALTER TABLE topics DELETE WHERE 1",
        "CREATE TABLE mine (a UInt8) ENGINE = Memory",
        "OPTIMIZE TABLE topics FINAL",
        "SET readonly = 0",
        "SYSTEM STOP MERGES",
        "SELECT 1; DROP TABLE topics",
    ],
)
def test_nothing_can_be_changed(asked: Settings, capsys: pytest.CaptureFixture[str], sql: str) -> None:
    with connect(asked.warehouse) as client:
        before = client.rows("SELECT * FROM topics ORDER BY name")
        assert run("query", sql) == EXIT_FAILED
        assert capsys.readouterr().err.count("\n") == 1
        assert client.rows("SELECT * FROM topics ORDER BY name") == before
        assert client.rows("EXISTS TABLE mine") == [(0,)]


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("SELEC 1", "refused to answer the query: Syntax error: failed at position 1 (SELEC)"),
        ("SELECT nope FROM topics", "Unknown expression identifier `nope`"),
        ("SELECT * FROM nowhere", "Run `barograph apply`, which creates the tables."),
        ("DROP TABLE topics", "`barograph query` only reads."),
        (
            "SELECT sleepEachRow(0.5) FROM numbers(10) SETTINGS max_block_size = 1, max_execution_time = 1",
            "took too long",
        ),
    ],
)
def test_a_refusal_is_one_line(asked: Settings, capsys: pytest.CaptureFixture[str], sql: str, sentence: str) -> None:
    assert run("query", sql) == EXIT_FAILED
    told = capsys.readouterr()
    assert told.out == ""
    assert sentence in told.err
    assert told.err.count("\n") == 1
    assert len(told.err) < 500


def test_a_server_that_is_away_and_a_database_that_is_missing_are_sentences(
    asked: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Path("barograph.toml").read_text()
    port = asked.warehouse.port
    Path("away.toml").write_text(config.replace(f"port = {port}", f"port = {choose_port()}"))
    Path("missing.toml").write_text(config.replace(asked.warehouse.database, "never_applied"))
    for command in (("status",), ("query", "SELECT 1")):
        assert run(*command, "--config", "away.toml") == EXIT_FAILED
        assert "check that the server runs" in capsys.readouterr().err
        assert run(*command, "--config", "missing.toml") == EXIT_FAILED
        assert "has no database 'never_applied'. Run `barograph apply`" in capsys.readouterr().err


def drift(**changes: Any) -> dict[str, Any]:
    row = {
        "model": "toy",
        "version": "1",
        "baseline_id": "b",
        "slice": "all",
        "field": "x",
        "window": "3h",
        "window_start": NOW_S - 3 * 3600,
        "window_end": NOW_S,
        "n": 900,
        "psi": 0.01,
        "psi_low": 0.0,
        "psi_high": 0.02,
        "js": 0.05,
        "p_value": 0.5,
        "q_value": 0.5,
        "df": 9,
        "phi": 1.0,
        "season": "none",
        "level": "stable",
        "threshold_minor": 0.1,
        "threshold_major": 0.2,
        "top_bin": "",
        "top_bin_index": -1,
        "expected_share": float("nan"),
        "actual_share": float("nan"),
        "visible_shift": 0.1,
        "completeness": 1.0,
        "judged_at": NOW_S * 1000,
        "record_seq": 10,
    }
    return row | changes


def rate(**changes: Any) -> dict[str, Any]:
    psi_alone = ("psi", "js", "q_value", "df", "season", "top", "expected_share", "actual_share", "visible")
    row = {name: value for name, value in drift().items() if not name.startswith(psi_alone)}
    return (
        row
        | {
            "kind": "null",
            "k": 90,
            "rate": 0.1,
            "baseline_rate": 0.0,
            "delta": 0.1,
            "delta_low": 0.08,
            "delta_high": 0.12,
        }
        | changes
    )


def processor(kind: str, age_s: float, **changes: Any) -> dict[str, Any]:
    now_ms = int(time.time() * 1000)
    row = {
        "kind": kind,
        "instance": "one",
        "at": int(now_ms - age_s * 1000),
        "host": "h",
        "pid": 1,
        "started_at": now_ms,
        "lag": 12345,
        "events": 1000,
        "rate": 99.6,
        "retries": 0,
        "dead_letters": 3,
        "last_commit_at": int(now_ms - age_s * 1000 - 5000),
        "details": {},
    }
    return row | changes


@pytest.fixture
def watched(client: Client) -> None:
    """A model that was judged, two processors of which one is silent, and a loss."""
    insert_rows(
        client,
        "drift",
        [
            drift(),
            drift(field="k", psi=0.31, level="major", top_bin="≥ 3.5", completeness=0.875),
            drift(field="k", window="1d", level="minor"),
            drift(field="flag", window_end=NOW_S - 3600, level="major"),
            drift(field="flag", level="insufficient", psi=float("nan")),
            drift(field="colour", slice="region=north", level="major"),
        ],
    )
    insert_rows(client, "rates", [rate(level="major"), rate(field="events", kind="error", level="stable")])
    insert_rows(client, "processors", [processor("sketcher", 5), processor("monitor", 95, lag=-1, last_commit_at=0)])
    at_ms = NOW_S * 1000
    insert_rows(
        client,
        "progress",
        [
            {
                "partials_partition": 0,
                "model": "toy",
                "watermark": at_ms,
                "sealed_until": at_ms,
                "updated_at": at_ms,
                "record_seq": 10,
            }
        ],
    )
    volume = {
        "partials_partition": 0,
        "model": "toy",
        "version": "1",
        "baseline_id": "b",
        "slice": "all",
        "pane_start": NOW_S - 3600,
        "pane_s": 3600,
        "n": 900,
        "errors": 0,
        "timed": 0,
        "slow": 0,
        "late": 0,
        "sealed": True,
        "unregistered": False,
        "record_seq": 10,
    }
    insert_rows(client, "volume", [volume])
    insert_rows(
        client,
        "losses",
        [
            {
                "partials_partition": 0,
                "source_partition": 1,
                "start_offset": 1000,
                "end_offset": 3500,
                "from_time": at_ms - 60_000,
                "to_time": at_ms,
                "reason": "retention",
                "recorded_at": at_ms,
                "record_seq": 10,
            }
        ],
    )


@pytest.mark.usefixtures("watched")
def test_status_tells_models_processors_and_losses(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status") == EXIT_OK
    told = capsys.readouterr().out
    words = [line.split() for line in told.splitlines()]
    sealed = time.strftime("%Y-%m-%d %H:%M", time.gmtime(NOW_S))
    (model,) = [line for line in words if line[:2] == ["toy", "1"]]
    # stable, minor, major, insufficient: the newest of each field and window, slice all, rates among them.
    assert model[-7:] == [*sealed.split(), "87.50%", "2", "1", "2", "1"]
    assert f"major  toy 1  k, 3h to {sealed}: PSI 0.310 [0.000, 0.020], most in ≥ 3.5" in told
    assert f"major  toy 1  x null, 3h to {sealed}: 10.0% instead of 0.0%" in told
    (sketcher,) = [line for line in words if line[:1] == ["sketcher"]]
    assert sketcher[:7] == ["sketcher", "one", "12,345", "100", "1,000", "3", "0"]
    assert sketcher[-1] == "reports"
    (monitor,) = [" ".join(line) for line in words if line[:1] == ["monitor"]]
    assert "unknown" in monitor
    assert "never silent for 95 s" in monitor or "never silent for 96 s" in monitor
    assert "2,500 offsets of the source topic are lost" in told


@pytest.mark.usefixtures("watched")
def test_status_as_json_holds_the_same(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status", "--format", "json") == EXIT_OK
    told = json.loads(capsys.readouterr().out)
    (model,) = told["models"]
    assert model["levels"] == {"stable": 2, "minor": 1, "major": 2, "insufficient": 1}
    assert model["completeness"] == 0.875
    assert {row["field"] for row in model["major"]} == {"k", "x"}
    assert model["freshness"]["sealed_until"].endswith("+00:00")
    assert {row["kind"]: row["silent"] for row in told["processors"]} == {"sketcher": False, "monitor": True}
    assert [row["offsets"] for row in told["losses"]] == [2500]


def test_a_model_without_events_is_there_and_says_so(asked: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status") == EXIT_OK
    told = capsys.readouterr().out
    (model,) = [line.split() for line in told.splitlines() if line.startswith("toy")]
    assert model == ["toy", "none", "yet", "never", "never", "0", "0", "0", "0"]
    assert "No processor has reported for a day" in told
