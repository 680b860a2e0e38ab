"""Names with special characters of SQL, HTML, YAML, templates, shells and terminals, in every output of the pipeline:
those that people give (models, fields, slices), and those in events (categories, classes, kinds of errors, ids)."""

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from barograph import Publisher, parse_contract
from barograph.contract import Contract, Field, LabelSpec, Slice, Window
from barograph.contract.file import dump_contract
from playwright.sync_api import Dialog

from barograph_server.dashboards.uids import DASHBOARDS
from barograph_server.local.child_process import choose_port
from barograph_server.operations.dev.page import open_page
from barograph_server.settings import Settings
from barograph_server.sketches.baseline.baseline import Baseline, FieldBaseline, SliceCounts, SliceValues
from barograph_server.terminal import utc_second
from tests.support.browser import PreviewPage, chromium
from tests.support.command_line import OutputOf
from tests.support.environment import enter_folder, kafka_lines
from tests.support.page_scenes import open_rows
from tests.support.pipeline import Pipeline

MODEL = """o'dd "m" $__interval ${HOME} {{ .x }} {a:String} %s \\' ; DROP TABLE drift; -- /* <img src=x> # 名"""
FIELD = """f' OR 1=1 -- "q" <script>alert(2)</script> ${model:raw} {{x}} \\"""
NUMBER = """n`; $$ \\n [red]</td>"""
SLICE = """s' "<b>" $x {y} \\ --"""
CATEGORIES = (
    "plain",
    "quo'te\"s\\",
    "line\nbreak\ttab\r",
    "\x1b]0;stolen\x07\x1b[2J",
    '<script>window.stolen = 1</script><img src=x onerror="window.stolen = 1">',
    "'); DROP TABLE panes; --",
    "{{ $labels.x }} ${__user.login} $__timeFilter(x)",
    "a=b, c\x00nul\u202e",
)
REGIONS = ("no'rth \"<i>", "so\nuth \x1b[31m")
HOUR_S = 3600
N = 800


def contract_of() -> Contract:
    return Contract(
        model=MODEL,
        team="t'eam <b>",
        pane_s=HOUR_S,
        lateness_s=600,
        out_of_order_s=600,
        windows=(Window(3 * HOUR_S, HOUR_S),),
        slice_min_n=1,
        fields=(
            Field(name=FIELD, type="category", source=f"features.{FIELD}", critical=True),
            Field(name=NUMBER, type="float", source=f"features.{NUMBER}"),
            Field(name="score", type="float", source="score"),
        ),
        slices=(Slice(name=SLICE, source=f"context.{SLICE}"),),
        label=LabelSpec(type="bool", positive=True),
    )


def baseline_of() -> Baseline:
    names = ["all", *(f"{SLICE}={value}" for value in REGIONS), f"{SLICE}=other"]
    rows = dict(zip(names, (8_000, 4_000, 4_000, 0), strict=True))
    numeric: dict[str, Any] = {"kind": "numeric", "edges": (0.25, 0.5, 0.75)}
    of_categories = {name: SliceCounts(cells=(n // 4,) * 4 + (0, 0)) for name, n in rows.items()}
    spread = {name: SliceCounts(cells=(n // 4,) * 4 + (0,)) for name, n in rows.items()}
    return Baseline(
        model=MODEL,
        version="1",
        rows=8_000,
        slice_rows=rows,
        dimensions=(SliceValues(name=SLICE, source=f"context.{SLICE}", values=REGIONS, trained=True),),
        fields=(
            FieldBaseline(name=FIELD, kind="category", categories=CATEGORIES[:4], slices=of_categories),
            FieldBaseline(name=NUMBER, **numeric, slices=spread),
            FieldBaseline(name="score", **numeric, slices=spread),
        ),
    )


BEGIN_S = int(time.time()) // HOUR_S * HOUR_S - 30 * HOUR_S


@pytest.fixture
def run(pipeline: Pipeline) -> Pipeline:
    contract = parse_contract(dump_contract(contract_of()))
    assert contract == contract_of(), "YAML gives the names back"
    pipeline.prepare(contract, [baseline_of()])
    with Publisher.from_contract(
        contract, version="1", bootstrap_servers=pipeline.bootstrap, topic_prefix=pipeline.prefix, on_full="wait"
    ) as publisher:
        for i in range(N):
            at, category, score = (BEGIN_S + i * 6 * HOUR_S // N) * 1000, CATEGORIES[i % 8], (i % 10) / 10
            publisher.prediction(
                id=f"{category}{i}",
                features={FIELD: category, NUMBER: score},
                context={SLICE: REGIONS[i % 2]},
                score=score,
                error=f"E{category}" if i % 50 == 0 else None,
                at=at,
            )
            publisher.label(id=f"{category}{i}", label=i % 3 == 0, at=at + 1000)
        publisher.publish_end_marker()
    pipeline.start_all("sketcher", "recorder", "monitor", "scorer", score_s=1.0)
    pipeline.wait_rows(f"SELECT sum(n) = {N} AND min(sealed) FROM volume FINAL WHERE slice = 'all'", "sealed volume")
    pipeline.wait_rows(f"SELECT count() = {N} FROM labels FINAL", "labels")
    pipeline.wait_rows("SELECT count() > 0 FROM latest_performance", "performance")
    pipeline.wait_settled()
    return pipeline


@pytest.mark.long
def test_odd_names_reach_every_sink_as_they_are(
    run: Pipeline, tmp_path: Path, output_of: OutputOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables_hold_them(run)
    for name in run.processes:
        for line in (run.log_dir / f"{name}.log").read_text().splitlines():
            assert json.loads(line)["event"], name
    terminals_run_no_escape_sequences(run, tmp_path, output_of, monkeypatch)
    pages_run_nothing(run)


def tables_hold_them(run: Pipeline) -> None:
    for sql, names in (
        ("SELECT DISTINCT model FROM drift", {MODEL}),
        ("SELECT DISTINCT field FROM drift", {FIELD, NUMBER, "score"}),
        ("SELECT DISTINCT slice FROM volume FINAL WHERE n > 0", {"all", *(f"{SLICE}={value}" for value in REGIONS)}),
        ("SELECT DISTINCT category FROM unseen_categories WHERE field = {field:String}", {*CATEGORIES[4:]}),
        ("SELECT DISTINCT kind FROM errors_by_kind", {f"E{CATEGORIES[i % 8]}" for i in range(0, N, 50)}),
    ):
        assert {name for (name,) in run.rows(sql, {"field": FIELD})} == names, sql
    raw = run.rows("SELECT strings[{field:String}], count() FROM predictions FINAL GROUP BY 1", {"field": FIELD})
    assert dict(raw) == dict.fromkeys(CATEGORIES, N // 8)
    ids = run.rows("SELECT count() FROM predictions AS p INNER JOIN labels AS l ON p.id = l.id")
    assert ids == [(N,)]


def terminals_run_no_escape_sequences(
    run: Pipeline, folder: Path, output_of: OutputOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter_folder(folder, monkeypatch, run.address, kafka_lines(run.bootstrap, run.prefix))
    begin, end = utc_second(BEGIN_S), utc_second(BEGIN_S + 6 * HOUR_S)
    span = [f"--from={begin}", f"--to={end}"]
    shown = ""
    for words in (
        ["status"],
        ["distribution", "--model", MODEL, "--field", FIELD, *span],
        ["distribution", "--model", MODEL, "--field", FIELD, "--slice", f"{SLICE}={REGIONS[1]}", *span],
        ["query", "SELECT DISTINCT strings FROM predictions", "--format", "table"],
        ["baseline", "list", "--model", MODEL],
        ["baseline", "show", baseline_of().id, "--field", FIELD],
        ["simulate", "--model", MODEL, "--since", begin, "--until", end],
    ):
        shown += output_of(0, *words)
    assert not set(shown) & set("\x1b\x07\x00\r\u202e\x9b")
    for name in (MODEL, FIELD, "␛]0;stolen␇␛[2J"):
        assert name in shown.replace("\n", " "), name


def pages_run_nothing(run: Pipeline) -> None:
    settings = Settings(bootstrap_servers=run.bootstrap, warehouse=run.address)
    with chromium() as browser, open_page(settings, run.address, choose_port()) as server:
        screen = PreviewPage(browser, server.url)
        messages: list[str] = []

        def dismiss(dialog: Dialog) -> None:
            messages.append(dialog.message)
            dialog.dismiss()

        screen.page.on("dialog", dismiss)
        span = {"from": (BEGIN_S - HOUR_S) * 1000, "to": (BEGIN_S + 8 * HOUR_S) * 1000}
        for page in ("fleet", "model", "field"):
            variables = {"var-model": MODEL, "var-field": FIELD, "var-window": "3h"}
            screen.open(f"/d/{DASHBOARDS[page]}?{urlencode({**span, 'open': open_rows(page), **variables})}")
            assert screen.panels("failed") == []
            assert screen.page.evaluate("() => window.stolen ?? null") is None
            assert not screen.page.query_selector_all("img[src=x]")
        assert messages == []
        assert [fault for fault in screen.faults if "Content Security" in fault] == []
        screen.page.close()
