import importlib.util
import io
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import Mock

import pyarrow as pa
import pytest
import yaml
from rich.console import Console

from barograph_server.examples.demo import findings
from barograph_server.examples.demo.findings import Findings
from barograph_server.examples.flights import data
from barograph_server.examples.flights.features import FEATURES
from barograph_server.examples.flights.replay import build
from barograph_server.terminal import Terminal
from barograph_server.warehouse.client import QueryResult


def test_missing_data_and_a_time_without_a_zone_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(data.DemoDataMissingError, match="uv sync --group demo"):
        data.data_folder()
    with pytest.raises(ValueError, match="has no time zone"):
        build(pa.table({}), datetime(2026, 1, 1))  # noqa: DTZ001 (the point of the test)


def test_features_are_known_at_departure() -> None:
    assert not {"dep_delay", "dep_time", "arr_delay", "arr_time", "air_time", "landed_at"} & set(FEATURES)


def test_an_expectation_is_met_by_its_row_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for ok, mark in ((1, "ok    "), (0, "FAILED")):
        expectation = {"expect": "{n} fields drifted", "query": "SELECT 1 AS ok", "observed": "{names}"}
        shown_query = {"title": "Drift", "query": "SELECT {end}, {fields}"}
        text = yaml.safe_dump({"demo": {"findings": [shown_query], "expectations": [expectation]}})
        (tmp_path / "findings.yaml").write_text(text, encoding="utf-8")
        monkeypatch.setattr(findings, "FILE", tmp_path / "findings.yaml")
        output = io.StringIO()
        terminal = Terminal(Console(file=output))
        client = Mock(query=Mock(return_value=QueryResult(("n", "names", "ok"), (), [[2], [["a", "b"]], [ok]])))
        read = Findings(client, "demo")
        read.facts |= {"end": datetime(2026, 1, 2, tzinfo=UTC), "fields": ("temp", "dewp")}
        assert read.check(terminal) == bool(ok)
        read.show(terminal, "barograph")
        sql = "SELECT toDateTime('2026-01-02 00:00:00', 'UTC'), ['temp', 'dewp']"
        assert client.query.call_args.args == (sql,)
        assert f"{mark}  2 fields drifted: a, b" in output.getvalue()
        assert f'barograph query "\n    {sql}"' in output.getvalue()


def test_the_file_has_what_the_demos_expect() -> None:
    counts = {"flights": 25, "shadow": 8, "llm": 9, "quality": 5}
    for demo, n in counts.items():
        assert len(Findings(Mock(), demo)._own.expectations) == n, demo
