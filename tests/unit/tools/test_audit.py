"""What `make audit` concludes from the report of pip-audit."""

import json
from typing import Any

import pytest

from tools.audit import CLEAN, UNAVAILABLE, VULNERABLE, conclude

GOOD = {"name": "numpy", "version": "2.3", "vulns": []}
BAD = {"name": "pyyaml", "version": "5.3", "vulns": [{"id": "PYSEC-2020-96", "fix_versions": ["5.3.1"]}]}
UNFIXED = {"name": "old", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": []}]}
SKIPPED = {"name": "scipy", "skip_reason": "Dependency not found on PyPI and could not be audited: scipy (1.15)"}


@pytest.mark.parametrize(
    ("packages", "code", "texts"),
    [
        ([GOOD], CLEAN, ["1 packages, no known vulnerability."]),
        ([GOOD, BAD, UNFIXED], VULNERABLE, ["pyyaml 5.3: PYSEC-2020-96, fixed in 5.3.1", "PYSEC-1, fixed in no ver"]),
        ([GOOD, SKIPPED], UNAVAILABLE, ["did not answer for scipy: this is no complete audit"]),
        ([BAD, SKIPPED], UNAVAILABLE, ["PYSEC-2020-96", "did not answer for scipy"]),
    ],
)
def test_a_package_without_an_answer_is_never_a_success(packages: list[Any], code: int, texts: list[str]) -> None:
    result, text = conclude(json.dumps({"dependencies": packages, "fixes": []}))
    assert result == code
    assert [part for part in texts if part not in text] == []


def test_no_report_means_that_nothing_was_audited() -> None:
    code, text = conclude("", "Failed to resolve the host")
    assert code == UNAVAILABLE
    assert "did not answer for any package (Failed to resolve the host)" in text
