"""The workloads of the benchmarks match docs/performance.md: one factor changes at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from benchmarks.shapes import SHAPES
from benchmarks.workload import ARROW_ROWS, Workload, arrow_messages, arrow_rows, json_events, make_workload

N = 500
LAST_MS = 600_000


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    return make_workload(tmp_path_factory.mktemp("base"))


def events(workload: Workload) -> list[dict[str, Any]]:
    return [json.loads(data) for data in json_events(workload, N, 0, LAST_MS)]


def sizes(workload: Workload) -> float:
    return sum(len(data) for data in json_events(workload, N, 0, LAST_MS)) / N


def test_the_base_is_20_numbers_and_a_score_in_700_bytes_without_slices(base: Workload) -> None:
    assert len(base.baseline.fields) == 21
    assert {field.kind for field in base.baseline.fields} == {"numeric"}
    assert not base.contract.slices
    assert not base.baseline.dimensions
    assert 650 < sizes(base) < 750
    assert [one["at"] for one in events(base)[:: N - 1]] == [0, LAST_MS]
    assert len({one["id"] for one in events(base)}) == N


def test_slices_change_the_contract_and_no_event(base: Workload, tmp_path: Path) -> None:
    sliced = make_workload(tmp_path, dimensions=4)
    assert events(sliced) == events(base)
    assert [cut.source for cut in sliced.contract.slices] == [f"context.{name}" for name in events(base)[0]["context"]]
    assert [cut.values for cut in sliced.contract.slices] == [each.values for each in sliced.baseline.dimensions]


def test_events_belong_to_the_models_in_turn(tmp_path: Path) -> None:
    workload = make_workload(tmp_path, models=5)
    assert [one["model"] for one in events(workload)[:10]] == [*workload.models, *workload.models]
    assert set(workload.registry().contracts) == set(workload.models)
    assert len({contract.id for contract, _ in workload.each()}) == 5


def test_larger_events_are_padded_with_unwatched_texts(base: Workload, tmp_path: Path) -> None:
    filled = make_workload(tmp_path, event_bytes=5_000)
    assert sizes(filled) == pytest.approx(5_000, rel=0.03)
    assert filled.contract == base.contract
    assert [one["features"] for one in events(filled)] == [one["features"] for one in events(base)]


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape.arrow], ids=lambda shape: str(shape.name))
def test_arrow_batches_hold_the_same_members_and_fit_into_messages(shape: Any, tmp_path: Path) -> None:
    workload = make_workload(tmp_path, **shape.parameters)
    rows = arrow_rows(workload)
    assert rows == (500 if shape.parameters.get("numbers") == 200 else ARROW_ROWS)
    messages = list(arrow_messages(workload, 3 * rows, 0, LAST_MS))
    assert len(messages) == 3
    assert max(map(len, messages)) < 1 << 20
    batches = [pa.ipc.open_stream(data).read_all() for data in messages]
    assert sum(len(batch) for batch in batches) == 3 * rows
    expected = {"id", "at", "model", "version", "score", *(f"features.{name}" for name in workload.numbers)}
    assert set(batches[0].column_names) == expected | {f"context.{name}" for name in workload.dimensions}
    assert [batch["model"][0].as_py() for batch in batches] == [
        workload.models[i % len(workload.models)] for i in range(3)
    ]
    assert len({each for batch in batches for each in batch["id"].to_pylist()}) == 3 * rows
