"""`load` accounts for every event that it sent, from a table to the tables of real processors."""

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from barograph.contract import Contract, LabelSpec
from barograph.contract.file import dump_contract

from barograph_server.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from barograph_server.streams.topics import partials_partition
from barograph_server.warehouse.retention import apply_ttls
from barograph_server.warehouse.tables import insert_rows
from tests.support.command_line import run
from tests.support.environment import enter_folder
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract
from tests.support.warehouse import row

N = 2_000
LABEL = LabelSpec(type="bool", positive=True, horizon_s=2 * 86_400)


def enter(pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch, contract: Contract) -> None:
    names = f'bootstrap_servers = "{pipeline.bootstrap}"', f'topic_prefix = "{pipeline.prefix}"'
    partitions = f"partials_partitions = {pipeline.partials_partitions}"
    enter_folder(folder, monkeypatch, pipeline.address, *names, partitions)
    Path("toy.yaml").write_text(dump_contract(contract))


def write_predictions(path: str, ids: range, **columns: Any) -> np.ndarray:
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


def load(*words: str) -> int:
    # On a machine that runs other tests, counting takes longer than a user would wait.
    patience = () if "--timeout" in words or "--no-wait" in words else ("--timeout", "280")
    return run("load", *words, *patience, "--contract", "toy.yaml", "--version", "1")


def test_load_accounts_for_every_event_and_fails_on_what_is_lost(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    contract = simple_contract(label=LABEL)
    enter(pipeline, tmp_path, monkeypatch, contract)
    pipeline.create(source_partitions=2)

    # Before the contract is applied every event would become a dead letter: nothing is sent.
    at_ms = write_predictions("good.parquet", range(N))
    assert load("good.parquet") == EXIT_USAGE
    assert "The contract of toy is not applied" in capsys.readouterr().err
    assert pipeline.read_all(pipeline.topics.predictions) == []
    pipeline.register(contract, [simple_baseline()])
    for kind in ("sketcher", "recorder", "monitor"):
        pipeline.start(kind)
    pipeline.start("scorer", score_s=0.5)
    write_labels("labels.parquet", range(N // 2), at_ms[: N // 2], [i % 3 == 0 for i in range(N // 2)])
    write_predictions("shadows.parquet", range(40), role=["shadow"] * 40)
    assert load("good.parquet", "shadows.parquet", "labels.parquet") == EXIT_OK
    errors = capsys.readouterr().err
    assert "shadows: 40 sent, 40 stored (they never count for the model)\n" in errors
    assert "predictions: 2,000 sent = 2,000 counted + 0 dead-lettered\n" in errors
    assert "labels: 1,000 sent = 1,000 matched + 0 unmatched + 0 dead-lettered\n" in errors
    assert "See:" not in errors
    assert "not yet known" not in errors

    # One column holds text in the place of numbers, some labels have no prediction, and the others the wrong type:
    # the file has another contract than the processors.
    Path("toy.yaml").write_text(dump_contract(simple_contract(label=LabelSpec(type="category", positive="paid"))))
    ids = range(N, 2 * N)
    at_ms = write_predictions("bad.parquet", ids, x=["n/a"] * N)
    write_labels("bad-labels.parquet", range(N + 100, 2 * N + 100), at_ms, ["paid"] * N)
    assert load("bad.parquet", "bad-labels.parquet") == EXIT_FAILED
    errors = capsys.readouterr().err
    assert "The contract of toy in force differs from this file" in errors
    assert "predictions: 2,000 sent = 2,000 counted + 0 dead-lettered\n" in errors
    assert "  x: 2,000 invalid values, 100% of the predictions\n" in errors
    assert "labels: 2,000 sent = 1,900 matched + 100 unmatched + 0 dead-lettered\n" in errors
    assert "  1,900 labels of the wrong type (not measured)\n" in errors
    assert "95.00%: 1,900 labels of the wrong type. See:" in errors
    assert "5.00%: 100 labels without a prediction. See:" in errors
    assert "Exit code 1: more than 0.01 of the events (--max-rejected)." in errors
    # The commands that show why can be run as they are printed.
    for sql in re.findall(r'    barograph query "(.*)"', errors):
        assert run("query", sql) == EXIT_OK
    assert "string" in capsys.readouterr().out

    # A dead letter is named by its reason, in `load`, `status` and `doctor`.
    in_2000 = pa.array(np.arange(N) + 946_684_800_000)
    write_predictions("old.parquet", range(2 * N, 3 * N), at=in_2000)
    # The tables keep them, and the processors have another setting.
    monkeypatch.setenv("BAROGRAPH_RETENTION_DAYS", "10000")
    with pipeline.client as client:
        apply_ttls(client, 10_000)
    assert load("old.parquet") == EXIT_FAILED
    errors = capsys.readouterr().err
    assert "predictions: 2,000 sent = 0 counted + 2,000 dead-lettered (too-old 2,000)\n" in errors
    assert "    barograph dead-letters show --model toy --topic predictions --since 1h\n" in errors
    assert run("status") == EXIT_OK
    assert re.search(r"toy +dead letters, predictions too-old +2,000 +20\d\d-", capsys.readouterr().out)
    assert run("doctor") in (EXIT_OK, EXIT_FAILED)
    assert "toy: 2,000 dead letters (predictions too-old) since 20" in capsys.readouterr().out

    # A table of predictions with labels is both; a null is a label that is not known yet.
    Path("toy.yaml").write_text(dump_contract(contract))
    outcome = [None if i % 4 == 0 else i % 3 == 0 for i in range(100)]
    write_predictions("both.parquet", range(3 * N, 3 * N + 100), outcome=outcome)
    assert load("both.parquet", "--label", "outcome", "--label-delay", "90s") == EXIT_OK
    errors = capsys.readouterr().err
    assert "the column outcome has the labels of 75 of 100 rows, which are sent with the time of the" in errors
    assert "predictions: 100 sent = 100 counted + 0 dead-lettered\n" in errors
    assert "labels: 75 sent = 75 matched + 0 unmatched + 0 dead-lettered\n" in errors
    assert pipeline.rows(
        "SELECT count(), min(l.at - p.at), max(l.at - p.at) FROM labels AS l JOIN all_predictions AS p ON l.id = p.id "
        f"WHERE l.id >= 'e{3 * N}' AND length(l.id) = 5"
    ) == [(75, 90, 90)]


def test_without_processors_the_account_says_what_is_not_known(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    contract = simple_contract(label=LABEL)
    enter(pipeline, tmp_path, monkeypatch, contract)
    pipeline.create()
    pipeline.register(contract, [simple_baseline()])
    assert partials_partition("toy", pipeline.partials_partitions) in range(2)
    at_ms = write_predictions("p.parquet", range(10))
    write_labels("l.parquet", range(10), at_ms, [True] * 10)
    assert load("p.parquet", "l.parquet", "--timeout", "0.5") == EXIT_FAILED
    errors = capsys.readouterr().err
    assert "predictions: 10 sent = 0 counted + 0 dead-lettered\n" in errors
    assert "not yet known: 1 message of predictions not yet counted by sketcher and monitor.\n" in errors
    assert "not yet known: 10 labels not yet recorded.\n" in errors
    assert "The account is not complete: no monitor, recorder, sketcher reports." in errors

    # Labels that are counted are not yet judged: a pass of the scorer writes its status last.
    not_judged = "not yet known: performance with these labels: the scorer has counted them and judges the windows."
    assert not_judged not in errors
    with pipeline.client as client:
        insert_rows(
            client,
            "performance_state",
            [row("performance_state", model="toy", window_start=int(time.time()), scored_at=2_000)],
        )
        assert load("l.parquet", "--timeout", "0") == EXIT_FAILED
        assert not_judged in capsys.readouterr().err
        insert_rows(client, "scorer_models", [row("scorer_models", model="toy", state="scored", updated_at=2_000)])
        assert load("l.parquet", "--timeout", "0") == EXIT_FAILED
        assert not_judged not in capsys.readouterr().err
    assert load("p.parquet", "--no-wait") == EXIT_OK
    assert "what became of the events is not known" in capsys.readouterr().err
