"""Events of files are read as `load` reads them, and protected as the contract says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from barograph.publisher.pii import KEY_VARIABLE, FieldHash, PiiKeyError

from barograph_server.drills.run.session import read_event_files
from tests.support.drill_events import CONTRACT, make_events, without


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    events = make_events(300)
    paths = [tmp_path / "predictions.parquet", tmp_path / "labels.parquet"]
    pq.write_table(events.predictions, paths[0])
    pq.write_table(events.labels, paths[1])
    return paths


def test_predictions_and_labels_are_read(files: list[Path]) -> None:
    events = make_events(300)
    version, result = read_event_files(files, CONTRACT, None)
    assert version == "1"
    assert set(result.predictions.column_names) == set(events.predictions.column_names)
    for name in events.predictions.column_names:
        assert result.predictions[name].to_pylist() == events.predictions[name].to_pylist(), name
    assert result.labels.to_pylist() == events.labels.to_pylist()
    _, result = read_event_files(files[:1], CONTRACT, "1")
    assert (result.labels.num_rows, result.labels.column_names) == (0, ["id", "label", "at"])


def test_hashed_fields_have_the_hashes_of_the_model(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    fields = tuple(
        msgspec.structs.replace(field, pii="hash") if field.name == "colour" else field for field in CONTRACT.fields
    )
    contract = without(CONTRACT, fields=fields)
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(PiiKeyError):
        read_event_files(files, contract, None)
    key = "a key that only this test uses"
    monkeypatch.setenv(KEY_VARIABLE, key)
    _, result = read_event_files(files, contract, None)
    hashed = FieldHash(key.encode(), "shop", "features.colour")
    colours = make_events(300).predictions["features.colour"].to_pylist()
    values = result.predictions["features.colour"].to_pylist()
    assert values == [None if colour is None else hashed(colour) for colour in colours]
