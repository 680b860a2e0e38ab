"""Output for programs: JSON and JUnit's XML."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from cli.drill.plan import DrillRequest, plan_drill
from cli.drill.schedule import schedule_text
from cli.drill.show import print_plan, print_report, print_summary, results_json, write_junit
from cli.errors import CommandError
from cli.terminal import Terminal
from drills.faults import InjectionRequest, find_fault
from drills.report import DrillCheck, DrillReport, failed_report
from tests.support.drill_events import CONTRACT, baseline, make_events, without
from tests.support.drill_simulation import ON_CALL

PASSED = DrillReport(
    (DrillCheck("page psi-major x to on-call", "page psi-major x at on-call", True, 3600),), ("A note.",)
)
FAILED = failed_report("the drill can run", "There is no field z.")
PLAN = plan_drill(
    "7",
    DrillRequest(InjectionRequest(find_fault("mean-shift"), "x")),
    without(CONTRACT, route="shop"),
    baseline(),
    make_events(),
    ON_CALL,
)


def test_json_has_every_check() -> None:
    values = results_json("shop", "1", "fast", [("mean-shift x", PLAN, PASSED), ("mean-shift z", None, FAILED)])
    assert not values["passed"]
    first, second = values["drills"]
    assert (first["id"], first["field"], first["checks"][0]["after_s"], first["notes"]) == ("7", "x", 3600, ["A note."])
    assert second["checks"] == [
        {"expected": "the drill can run", "observed": "There is no field z.", "met": False, "after_s": None}
    ]


def test_junit_has_a_test_case_per_drill(tmp_path: Path) -> None:
    path = tmp_path / "new" / "junit.xml"
    write_junit(path, "shop", [("mean-shift x", PLAN, PASSED), ("mean-shift z", None, FAILED)])
    suite = ET.parse(path).getroot()
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("2", "1")
    passed, failed = suite
    assert [each.tag for each in passed] == ["system-out"]
    assert passed[0].text == "\n".join(
        (
            "ok: expected page psi-major x to on-call; observed page psi-major x at on-call after 1h",
            "A note.",
        )
    )
    assert failed[0].attrib["message"] == "expected: the drill can run; observed: There is no field z."
    assert failed[1].text == "failed: expected the drill can run; observed There is no field z."


def test_people_see_the_expectation_before_and_each_check_after(capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(Terminal(), PLAN)
    print_report(Terminal(), "mean-shift x", PASSED)
    output = capsys.readouterr().out
    assert "page psi-major x to on-call after " in output
    assert "degrades, then recovers" in output
    assert "mean-shift x: passed" in output
    assert "1h" in output


def test_people_see_why_no_time_is_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    request = DrillRequest(InjectionRequest(find_fault("silence")))
    print_plan(
        Terminal(), plan_drill("7", request, without(CONTRACT, route="shop"), baseline(), make_events(), ON_CALL)
    )
    text = "page silence to on-call; no time is predicted: silence does not depend on the values of a field"
    assert text in " ".join(capsys.readouterr().out.split())


def test_a_suite_ends_with_the_drills_that_failed(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(Terminal(), [("mean-shift x", PLAN, PASSED)])
    print_summary(Terminal(), [("mean-shift x", PLAN, PASSED), ("mean-shift z", None, FAILED)])
    assert capsys.readouterr().out == "1 of 1 drills passed.\n1 of 2 drills passed; failed: mean-shift z.\n"


@pytest.mark.parametrize("kind", ["cron", "systemd", "kubernetes"])
def test_schedules_run_the_suite(kind: str) -> None:
    text = schedule_text(kind, Path("drills.yaml"), "shop", "barograph:1")
    assert "drills.yaml" in text
    assert "suite" in text
    with pytest.raises(CommandError, match="--for at: write one of cron, systemd, kubernetes"):
        schedule_text("at", Path("drills.yaml"), "shop", "")
