from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from barograph.contract import Columns, Contract, Field, LabelSpec, Slice

from barograph_server.batch.backfill import times
from barograph_server.batch.backfill.check import EventSource, LabelTime, inspect_file, inspect_files, read_blocks
from barograph_server.batch.backfill.files import BATCH_ROWS, EventFile, LoadError, csv_types
from tests.support.table_files import FORMATS, write_table

CONTRACT = Contract(
    model="m",
    fields=(
        Field(name="x", type="float", source="features.x"),
        Field(name="zip", type="category", source="features.zip"),
        Field(name="score", type="float", source="score"),
    ),
    slices=(Slice(name="region", source="context.region"),),
    label=LabelSpec(type="category"),
    ignored={"note": "free text"},
)
FLAG = Contract(
    model="m", fields=(Field(name="x", type="float", source="features.x"),), label=LabelSpec(type="bool", positive=True)
)
AT = datetime(2026, 3, 1, tzinfo=UTC)
NO_TIME = LabelTime()
FILES = [f"p.{suffix}" for suffix in FORMATS]


def table(**columns: object) -> pa.Table:
    rows = {"id": ["007", "8"], "at": [AT, AT], "x": [1.5, None], "zip": ["01234", "NA?"], **columns}
    return pa.table({name: values for name, values in rows.items() if values is not None})


def read(path: Path, version: str | None = "3", contract: Contract = CONTRACT) -> EventSource:
    return inspect_file(EventFile(path, csv_types(contract)), contract, version)


def rows_of(source: EventSource, contract: Contract = CONTRACT) -> list[dict[str, Any]]:
    return [row for block in read_blocks(source, contract, "3") for row in block.rows.to_pylist()]


def skipped(*sources: EventSource) -> list[int]:
    return [block.n_rejected for source in sources for block in read_blocks(source, CONTRACT, "3")]


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_events(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / name, table(score=[0.25, 0.75], region=["north", None], rest=[1, 2]))
    source = read(tmp_path / name)
    assert source.kind == "predictions"
    assert source.columns == {"id", "at", "x", "zip", "score", "region"}
    names = ("id", "features.x", "features.zip", "score", "context.region")
    assert rows_of(source) == [
        {"model": "m", "version": "3", "at": AT, **dict(zip(names, values, strict=True))}
        for values in (("007", 1.5, "01234", 0.25, "north"), ("8", None, "NA?", 0.75, None))
    ]
    hint = "if one of them has labels, name it with --label"
    assert source.notes == (f"{tmp_path / name}: columns ignored, not in the contract: rest; {hint}.",)


def test_a_large_file_is_read_in_bounded_batches(tmp_path: Path) -> None:
    n = 2 * BATCH_ROWS + 10
    rows = pa.table({"id": [str(i) for i in range(n)], "at": pa.array(np.arange(n)), "x": np.arange(n) / 2})
    for name in FILES:
        write_table(tmp_path / name, rows, group_rows=n)
        file = EventFile(tmp_path / name, csv_types(CONTRACT))
        sizes = [batch.num_rows for batch in file.batches({"x"})]
        assert sum(sizes) == n
        assert max(sizes) <= BATCH_ROWS
        assert file.rows == (n if name == "p.parquet" else None)


def test_labels_are_detected_by_their_columns(tmp_path: Path) -> None:
    labels = pa.table({"id": ["007", "8"], "label": ["1", "0"], "at": [AT, AT], "who": ["a", "b"]})
    for name in FILES:
        write_table(tmp_path / name, labels)
        source = read(tmp_path / name, version=None)
        assert source.kind == "labels"
        assert rows_of(source) == [
            {"model": "m", "id": id_, "label": label, "at": AT} for id_, label in (("007", "1"), ("8", "0"))
        ]
        assert source.notes == (f"{tmp_path / name}: columns ignored, not part of a label: who.",)
    path = tmp_path / "l.parquet"
    write_table(path, pa.table({"id": ["a"], "label": [True]}))
    assert "its labels get the current time" in read(path).notes[0]
    write_table(path, labels.drop_columns(["who"]))
    note = f"{path}: the contract has no label, so these labels are stored and not measured."
    assert read(path, None, Contract(model="m")).notes == (note,)


def sources_of(
    *paths: Path, contract: Contract = CONTRACT, label: str = "label", label_time: LabelTime = NO_TIME
) -> list[EventSource]:
    files = [EventFile(path, csv_types(contract), Columns(label=label)) for path in paths]
    return inspect_files(files, contract, "3", label_time)


@pytest.mark.parametrize("name", FILES)
def test_a_table_of_predictions_with_labels_is_both(tmp_path: Path, name: str) -> None:
    """A null is a label that is not known yet. Rows without an id or a time are skipped once, not twice."""
    path = tmp_path / name
    rows = {"id": ["a", "b", "c", None, "e"], "at": [AT, AT, AT, AT, None], "x": [1.0] * 5, "zip": ["1"] * 5}
    write_table(path, pa.table({**rows, "score": [0.5] * 5, "paid": ["yes", None, "no", "no", "no"]}))
    predictions, labels = sources_of(path, label="paid")
    assert (predictions.kind, labels.kind) == ("predictions", "labels")
    assert predictions.columns == {"id", "at", "x", "zip", "score"}
    assert predictions.notes == ()
    assert rows_of(labels) == [
        {"model": "m", "id": id_, "label": label, "at": AT} for id_, label in (("a", "yes"), ("c", "no"))
    ]
    assert labels.notes == (
        f"{path}: the column paid has the labels of 4 of 5 rows, which are sent with the time of the prediction, as if "
        "they became known at once. If they became known later, give --label-time COLUMN or --label-delay.",
    )
    assert skipped(predictions, labels) == [2, 0]


def test_labels_in_predictions_have_the_named_time_or_delay(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    known = AT + timedelta(hours=5)
    write_table(path, table(score=[0.5, 0.5], label=["1", "0"], known=[known, None]))
    predictions, labels = sources_of(path, label_time=LabelTime("known"))
    assert predictions.notes == ()
    assert labels.notes[0].endswith("2 of 2 rows, which are sent with the times in the column known.")
    assert [(row["id"], row["at"]) for row in rows_of(labels)] == [("007", known)]
    assert skipped(labels) == [1], "a known label without a time"
    empty = table(id=["007", ""], score=[0.5, 0.5], label=["1", "0"], known=[known, known])
    write_table(tmp_path / "e.parquet", empty)
    sources = sources_of(tmp_path / "e.parquet", label_time=LabelTime("known"))
    assert skipped(*sources) == [1, 0], "a row without an id is skipped once"
    _, labels = sources_of(path, label_time=LabelTime(delay_s=7 * 86_400))
    assert labels.notes[0].endswith("which are sent with the time of the prediction plus 7d.")
    assert [row["at"] for row in rows_of(labels)] == [AT + timedelta(days=7)] * 2


def test_labels_in_predictions_are_checked_like_others(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write_table(path, table(zip=None, paid=["yes", "perhaps"]))
    with pytest.raises(LoadError, match=r"the column paid has 'perhaps' \(1 row\); a label must be true or false"):
        sources_of(path, contract=FLAG, label="paid")
    write_table(path, table(zip=None, label=["yes", "no"], flag=[True, False]))
    unlabelled = Contract(model="m", fields=FLAG.fields)
    _, labels = sources_of(path, contract=unlabelled)
    assert labels.notes[-1].endswith("the contract has no label, so these labels are stored and not measured.")
    write_table(path, table(zip=None))
    with pytest.raises(LoadError, match="--label-delay is for the labels in a table of predictions, and none are sent"):
        sources_of(path, contract=FLAG, label_time=LabelTime(delay_s=60))
    feature = Contract(model="m", fields=(Field(name="label", type="float", source="features.label"),))
    write_table(path, table(label=[1.0, 2.0]))
    assert [source.kind for source in sources_of(path, contract=feature)] == ["predictions"], "the contract has it"


def test_rows_without_id_or_time_are_counted_and_missing_columns_noted(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write_table(path, pa.table({"id": ["a", None, "", "b"], "at": [AT, AT, AT, None], "x": [1.0, 2, 3, 4]}))
    assert (len(rows_of(read(path))), skipped(read(path))) == (1, [3])
    assert read(path).notes == (f"{path}: missing columns, counted as null: features.zip, score.",)


def test_wrong_columns_are_rejected_before_anything_is_published(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    for rows, message in (
        (table(id=None), "the table has no column id; add one with the request's ids."),
        (table(at=None), "has no column at: add one with the time of each prediction"),
        (table(at=[True, False]), "the column at has type bool; convert it to timestamps"),
        (table(x=None, zip=None, y=[1, 2]), "has no column of a field of the contract of m"),
        (table(**{"features.x": [1, 2]}), "the columns 'x' and 'features.x' both mean features.x; drop one."),
        (pa.table({"label": [True], "at": [AT]}), "has no column id: labels need id, label and the time at."),
    ):
        write_table(path, rows)
        with pytest.raises(LoadError) as error:
            read(path)
        assert message in str(error.value)
        assert str(error.value).startswith(str(path))


def test_predictions_need_a_version_and_are_of_one_model(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write_table(path, table())
    with pytest.raises(LoadError, match="give the version of the predictions with --version"):
        read(path, version=None)
    write_table(path, table(version=["3", "4"]))
    assert [row["version"] for row in rows_of(read(path, version=None))] == ["3", "4"]
    write_table(path, table(model=["m", "n"]))
    with pytest.raises(LoadError, match="the column model holds 'n'; this publisher is for 'm'"):
        rows_of(read(path))


@pytest.mark.parametrize("name", FILES)
def test_crossed_slices_and_scores_find_their_columns(tmp_path: Path, name: str) -> None:
    fields = (Field(name="scores.cat", type="float", source="scores.cat"),)
    contract = Contract(
        model="m", fields=fields, slices=(Slice(name="both", source="features.origin * context.carrier"),)
    )
    row = {"id": "1", "at": AT, "scores.cat": 0.25, "scores.dog": 0.75, "origin": "JFK", "carrier": "09"}
    write_table(tmp_path / name, pa.Table.from_pylist([row]))
    source = read(tmp_path / name, contract=contract)
    assert source.notes == ()
    [event] = rows_of(source, contract)
    assert (event["features.origin"], event["context.carrier"], event["scores.dog"]) == ("JFK", "09", 0.75)


@pytest.mark.parametrize("name", FILES)
def test_equivalent_labels_are_loaded_as_the_contracts_type_and_others_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for labels in ([1, 0], [1.0, 0.0], ["1", "0"], [True, False], ["yes", "no"], ["1", "False"]):
        write_table(path, pa.table({"id": ["a", "b"], "label": labels, "at": [AT, AT]}))
        read_labels = [row["label"] for row in rows_of(read(path, None, FLAG), FLAG)]
        assert [(label, type(label)) for label in read_labels] == [(True, bool), (False, bool)], labels
    write_table(path, pa.table({"id": list("abcde"), "label": ["yes", None, "maybe", "maybe", "2"], "at": [AT] * 5}))
    expected = (
        r"the column label has 'maybe' \(2 rows\), '2' \(1 row\); a label must be true or false, 1 or 0, yes or no by "
        "the contract's label; convert it, or name the two values in the contract"
    )
    with pytest.raises(LoadError, match=expected):
        read(path, None, FLAG)


PLAIN = Contract(model="m", fields=(Field(name="x", type="float", source="features.x"),), label=LabelSpec(type="float"))
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)


def times_of(path: Path, at: list[datetime], retention_days: int = 400, shift_ms: int = 0) -> list[times.FileTimes]:
    pq.write_table(pa.table({"id": [str(i) for i in range(len(at))], "at": at, "x": [1.0] * len(at)}), path)
    return times.read_times([read(path, "1", PLAIN)], PLAIN, "1", NOW_MS, retention_days, shift_ms)


def days_ago(*days: float) -> list[datetime]:
    return [NOW - timedelta(days=each) for each in days]


def test_times_within_the_retention_are_accepted_and_a_refusal_says_what_to_do(tmp_path: Path) -> None:
    accepted = times_of(tmp_path / "p.parquet", [*days_ago(398), NOW + timedelta(minutes=4)])
    times.check_times(accepted, NOW_MS, 400, is_shifted=False)
    for at, is_shifted, message in (
        (
            days_ago(500, 450, 1),
            False,
            "2 of 3 events are older than the retention of 400 days (the oldest is from 2025-07-15 12:00), and "
            "processors would reject them, so nothing was sent. Either set retention_days to 502 for all processors "
            "and commands, run `barograph apply` and restart them; or set retention_days to 508 for all processors and "
            "commands, run `barograph apply` and restart them and load with --shift-to-now.",
        ),
        (
            days_ago(606, 0),
            True,
            "1 of 2 events are older than the retention of 400 days (the oldest is from 2025-03-31 12:00), and "
            "processors would reject them, so nothing was sent. The files span a long time: set retention_days to 608 "
            "for all processors and commands, run `barograph apply` and restart them.",
        ),
        (
            [datetime(1970, 1, 1, tzinfo=UTC), NOW],
            False,
            "1 of 2 events are older than the retention of 400 days (the oldest is from 1970-01-01 00:00), and "
            "processors would reject them, so nothing was sent. Correct the column at: its unit, or rows without a "
            "real time.",
        ),
        (
            days_ago(-3, 0),
            False,
            "1 of 2 events are ahead of this machine's clock (the newest is from 2026-11-30 12:00), and processors "
            "would reject them, so nothing was sent. Correct the column at (its unit, or its time zone) or "
            "--label-delay, or load with --shift-to-now.",
        ),
    ):
        with pytest.raises(times.RefusedTimes) as error:
            times.check_times(times_of(tmp_path / "p.parquet", at), NOW_MS, 400, is_shifted=is_shifted)
        assert str(error.value) == message


def test_the_named_retention_is_enough_and_the_shift_keeps_the_hour_of_the_week(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    at = days_ago(500, 450, 1)
    times.check_times(times_of(path, at, 502), NOW_MS, 502, is_shifted=False)
    for old in (days_ago(900, 750), days_ago(-40, -3)):
        shift_ms = times.shift_to_now_ms(times_of(path, old), NOW_MS)
        shifted = times_of(path, old, shift_ms=shift_ms)
        times.check_times(shifted, NOW_MS, 400, is_shifted=True)
        assert shift_ms % (7 * 86_400_000) == 0
        assert 0 <= NOW_MS - shifted[0].newest_ms < 7 * 86_400_000


def test_a_shifted_prediction_keeps_its_original_time(tmp_path: Path) -> None:
    times_of(tmp_path / "p.parquet", days_ago(500, 450))
    (block,) = read_blocks(read(tmp_path / "p.parquet", "1", PLAIN), PLAIN, "1")
    shifted = times.shift_rows(block.rows, 448 * 86_400_000, keep_original=True).to_pylist()
    assert [row["at"] for row in shifted] == days_ago(52, 2)
    assert [row["context.original_at"] for row in shifted] == ["2025-07-15T12:00:00.000Z", "2025-09-03T12:00:00.000Z"]
    assert [row["features.x"] for row in shifted] == [1.0, 1.0]
