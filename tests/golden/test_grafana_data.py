"""The preview names, joins and writes what panels show as Grafana's published package `@grafana/data` does.

`tests/grafana_data/compare.cjs` passes the same rows to both. `make grafana-data` installs the package.
"""

import copy
import json
import math
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from barograph_server.dashboards.parse import Json, panels_of
from barograph_server.dashboards.query import dedent_sql
from barograph_server.dashboards.style import GRAFANA_VERSION, STYLE
from barograph_server.local.preview.frames import frame_of
from barograph_server.warehouse.client import QueryResult
from barograph_server.warehouse.panels import PanelQuery
from barograph_server.warehouse.panels.named import named_queries
from barograph_server.warehouse.panels.query import DAY_S, HOUR_S, Column
from tests.support.missing_dependencies import skip_or_fail

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests/grafana_data"
INSTALLED = ROOT / ".cache/grafana-data/node_modules"
QUERIES = {dedent_sql(query.sql): query for query in named_queries().values()}
PAGES = [json.loads(path.read_text("utf-8")) for path in sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))]
PANELS = {
    f"{page['uid']} {panel['id']} {panel['title']}": panel
    for page in PAGES
    for panel in panels_of(page)
    # The package does not contain Grafana's node graph.
    if panel.get("targets") and panel["type"] != "nodeGraph"
}
NUMBERS: Sequence[float | None] = (
    0, 1, 2, 3, 4, -1, 0.5, -0.25, 0.05, 0.00042, -3e-7, 4e-9, 1e-14, 1.5, 12.345, 59.9996, 60, 119.5, 999.5, 1000,
    1023.99, 4321.5, 86_400, 700_000.25, 31_536_000, 123_456_789, -2e12, 1e15, 3e27, None, math.nan,
)  # fmt: skip
NAMES = (
    "amount", "", "minor threshold", "psi", "at least", "1.10", "007", "1e5", "0x10", "insufficient", "major", "$&",
    "constructor", "${__field.labels.model}", '{a="b", c="d"}', "country=DE", "模型", "</script>", " ", None,
)  # fmt: skip
START_S = 1_793_700_000
END_S = START_S + 12 * DAY_S
TYPES = {"time": "DateTime64(3, 'UTC')", "text": "Nullable(String)", "number": "Nullable(Float64)"}
LIMITS = ("SLO", "minor threshold", "major threshold", "ks threshold", "margin")
SERIES = ("timeseries", "state-timeline", "heatmap")
CHARTS = {name: panel for name, panel in PANELS.items() if panel["type"] == "timeseries"}


def series_frame(query: PanelQuery, offset: int) -> dict[str, Any]:
    """Series with up to three hops, and no value in four days and the last two; `offset` chooses names and numbers."""
    texts = [column.name for column in query.columns if column.kind == "text"]
    rows = []
    for group, hop_s in enumerate((3 * HOUR_S, 2 * HOUR_S, DAY_S) if texts else (2 * HOUR_S,)):
        times = range(START_S + DAY_S, END_S - 2 * DAY_S, hop_s)
        for row, at in enumerate(at for at in times if not 3 * DAY_S < at - START_S < 7 * DAY_S):
            rows.append([value(column, at, offset + group, row) for column in query.columns])
    return frame(query, sorted(rows, key=lambda row: row[0]))


def table_frame(query: PanelQuery, rows: Sequence[int], step_s: float) -> dict[str, Any]:
    return frame(query, [[value(column, START_S + row * step_s, row, row) for column in query.columns] for row in rows])


def value(column: Column, at_s: float, name: int, number: int) -> Any:
    shift = sum(map(ord, column.name))
    if column.kind == "time":
        return datetime.fromtimestamp(at_s, UTC)
    return NAMES[(name + shift) % len(NAMES)] if column.kind == "text" else NUMBERS[(number + shift) % len(NUMBERS)]


def frame(query: PanelQuery, rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    columns = [[row[index] for row in rows] for index in range(len(query.columns))]
    return frame_of(QueryResult(tuple(query.names), tuple(TYPES[column.kind] for column in query.columns), columns))


def variants(panel: Json) -> Iterator[list[dict[str, Any]]]:
    queries = [QUERIES[target["rawSql"]] for target in panel["targets"]]
    if panel["type"] in SERIES:
        for offset in range(len(NAMES)):
            yield [series_frame(query, offset) for query in queries]
            if len(queries) > 1:
                yield [series_frame(queries[0], offset), *(frame(query, []) for query in queries[1:])]
    else:
        (query,) = queries
        yield [table_frame(query, range(len(NUMBERS) * len(NAMES)), 3600)]
        yield [table_frame(query, range(3), 0.5)]
        yield [table_frame(query, [], 0)]
        if panel["type"] == "stat":
            yield from ([table_frame(query, [row], 0)] for row in range(len(NUMBERS)))


def without_span_nulls(panel: Json) -> Json:
    """A panel whose lines end at every null: the package does not contain Grafana's rule for short gaps."""
    result = copy.deepcopy(dict(panel))
    result["fieldConfig"]["defaults"].get("custom", {}).pop("spanNulls", None)
    return result


def compared(folder: Path) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """What Grafana and the preview make of each variant of each panel's rows, by panel; and the whole answer."""
    if not INSTALLED.exists() or shutil.which("node") is None:
        skip_or_fail("Grafana's package is missing: install Node.js 20 or later and run `make grafana-data`")
    preview = shutil.copytree(ROOT / "local/preview/static", folder / "static")
    # Node.js takes the modules of a browser for CommonJS otherwise.
    (preview / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    cases = [(name, without_span_nulls(panel), frames) for name, panel in PANELS.items() for frames in variants(panel)]
    request = {
        "preview": str(preview),
        "fromMs": START_S * 1000,
        "toMs": END_S * 1000,
        "limits": [STYLE.series_colours[name] for name in LIMITS],
        "charts": [*CHARTS.values()],
        "cases": [{"panel": panel, "frames": frames} for _, panel, frames in cases],
    }
    done = subprocess.run(
        ["node", FOLDER / "compare.cjs"],
        input=json.dumps(request, allow_nan=False),
        env={**os.environ, "NODE_PATH": str(INSTALLED)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    by_panel: dict[str, list[dict[str, Any]]] = {name: [] for name in PANELS}
    written = json.loads(done.stdout)
    for (name, _, frames), result in zip(cases, written["results"], strict=True):
        by_panel[name].append({**result, "frames": frames})
    return by_panel, written


def test_every_panel_shows_what_grafana_shows_and_text_as_it_is(tmp_path: Path) -> None:
    by_panel, answer = compared(tmp_path)
    assert not set(answer["limits"]) & set(answer["palette"]), "no series has the color of a threshold"
    for (name, panel), axes in zip(CHARTS.items(), answer["axes"], strict=True):
        for texts in axes:
            assert len(set(texts)) == len(texts), (name, texts)
            has_unit = panel["fieldConfig"]["defaults"]["unit"] not in (STYLE.units.plain, STYLE.units.count)
            assert all(text.strip("-.0123456789") for text in texts) or not has_unit, (name, texts)
    for name, results in by_panel.items():
        panel = PANELS[name]
        # Tables write a dash, because the text of an empty panel would stand in every empty cell.
        empty = "–" if panel["type"] == "table" else panel["fieldConfig"]["defaults"].get("noValue", "")
        assert any(result["grafana"] for result in results), name
        for result in results:
            assert result["preview"] == result["grafana"], name
            if panel["type"] in ("table", "barchart"):
                for column, shown in zip(result["frames"][0]["columns"], result["grafana"], strict=True):
                    if column["type"] == "string":
                        assert shown["texts"] == [text or empty for text in column["values"]], name


def test_the_package_has_the_version_of_the_dashboards_and_their_time_zone() -> None:
    package = json.loads((FOLDER / "package.json").read_text("utf-8"))
    assert package["dependencies"]["@grafana/data"] == GRAFANA_VERSION
    assert {page["timezone"] for page in PAGES} == {"utc"}
