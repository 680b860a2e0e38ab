"""`barograph compare` on real flights: the command end to end, and its page in Chromium."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.main import main
from examples.flights import model
from examples.flights.data import read_flights
from examples.flights.features import FEATURES, flight_rows
from examples.flights.replay import REPLAY_DATES, TRAINING_DATES, between
from tests.support.browser import chromium

CLASSIFIER_FIELDS = 5

pytestmark = pytest.mark.long


@dataclass(frozen=True)
class Run:
    """The results of one run of the command."""

    exit_code: int
    verdicts: dict[str, Any]
    page: Path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("flights")
    rows = flight_rows(read_flights())
    training, later = between(rows, *TRAINING_DATES), between(rows, *REPLAY_DATES)
    classifier = model.train(training)
    tables = {
        "train.parquet": training.append_column("score", pa.array(model.out_of_fold_scores(training))),
        "prod.parquet": later.append_column("score", pa.array(classifier.scores(later))),
    }
    for name, table in tables.items():
        pq.write_table(table.select(["id", "at", *FEATURES, "score", "label"]), folder / name)
    files = ["--html", str(folder / "r.html"), "--json", str(folder / "r.json")]
    names = ["--time", "at", "--score", "score", "--label", "label", "--id", "id", "--by", "month"]
    inputs = [str(folder / name) for name in tables]
    with pytest.raises(SystemExit) as end:
        main(["compare", *inputs, *names, *files, "--slice", "origin", "--fail-at", "major"])
    verdicts = json.loads((folder / "r.json").read_text(encoding="utf-8"))
    return Run(int(end.value.code or 0), verdicts, folder / "r.html")


def test_winter_drifts_by_its_weather_and_its_late_flights_are_not_predicted(run: Run) -> None:
    assert run.exit_code == 1
    levels = {(row["field"], row["period"]): row["level"] for row in run.verdicts["drift"] if row["slice"] == "all"}
    assert levels["temp", "2013-12"] == "major"
    assert levels["temp", "2013-08"] != "major"
    for field in ("dest", "carrier", "distance", "block_min", "time_of_day"):
        assert {level for (name, _), level in levels.items() if name == field} <= {"stable", "insufficient"}
    assert {row["slice"] for row in run.verdicts["drift"]} == {
        "all",
        *(f"origin={code}" for code in ("EWR", "JFK", "LGA")),
    }
    assert run.verdicts["hints"] == []
    auc = {row["period"]: row for row in run.verdicts["performance"] if row["metric"] == "auc"}
    assert auc["2013-12"]["level"] in ("minor", "major")
    accuracy = {row["period"]: row for row in run.verdicts["performance"] if row["metric"] == "accuracy"}
    assert accuracy["2013-12"]["level"] == "major"
    # Without labels the loss would not have been visible.
    assert accuracy["2013-12"]["estimate_low"] > accuracy["2013-12"]["high"]
    result = run.verdicts["multivariate"]
    assert 0.8 < result["low"] < result["auc"] < result["high"] < 1
    assert len(result["top_fields"]) == CLASSIFIER_FIELDS
    assert result["top_fields"][0][0] == "temp"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_shows_everything_on_a_phone_and_a_screen(run: Run, scheme: Any) -> None:
    with chromium() as browser:
        for width in (390, 1280):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            requests: list[str] = []
            errors: list[str] = []
            page.on("request", lambda request: requests.append(request.url))  # noqa: B023
            page.on("pageerror", lambda error: errors.append(str(error)))  # noqa: B023
            page.goto(run.page.as_uri())
            assert requests == [run.page.as_uri()]
            assert not errors
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            background = page.evaluate("getComputedStyle(document.querySelector('.barograph-report')).backgroundColor")
            assert (sum(map(int, background[4:-1].split(","))) > 3 * 128) is (scheme == "light")
            fields = page.locator(".fields details")
            assert fields.count() == len(FEATURES) + 1
            last = fields.last
            assert not last.locator(".detail").is_visible()
            last.locator("summary").click()
            assert last.locator(".detail").is_visible()
            page.close()
