"""Output for programs: JUnit's XML."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from barograph_server.drills.faults import InjectionRequest, find_fault
from barograph_server.drills.report import DrillCheck, DrillReport, failed_report
from barograph_server.drills.run.plan import DrillRequest, plan_drill
from barograph_server.drills.run.results import planned_result, unplanned_result
from barograph_server.drills.run.text import write_junit
from tests.support.drill_events import CONTRACT, baseline, make_events, without
from tests.support.drill_simulation import ON_CALL

PASSED = DrillReport(
    (DrillCheck("page psi-major x to on-call", "page psi-major x at on-call", True, 3600),), ("A note.",)
)
FAILED = failed_report("the drill can run", "There is no field z.")
REQUEST = DrillRequest(InjectionRequest(find_fault("mean-shift"), "x"))
PLAN = plan_drill("7", REQUEST, without(CONTRACT, route="shop"), baseline(), make_events(), ON_CALL)


def test_junit_has_a_test_case_per_drill(tmp_path: Path) -> None:
    path = tmp_path / "new" / "junit.xml"
    write_junit(path, "shop", [planned_result(PLAN, PASSED), unplanned_result("8", REQUEST, None, FAILED)])
    suite = ET.parse(path).getroot()
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("2", "1")
    passed, failed = suite
    assert [each.tag for each in passed] == ["system-out"]
    assert passed[0].text == "\n".join(
        ("ok: expected page psi-major x to on-call; observed page psi-major x at on-call after 1h", "A note.")
    )
    assert failed[0].attrib["message"] == "expected: the drill can run; observed: There is no field z."
    assert failed[1].text == "failed: expected the drill can run; observed There is no field z."
