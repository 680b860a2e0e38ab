from __future__ import annotations

import pytest

from dashboards.uids import DASHBOARDS, PANELS, panel_link


def test_a_panel_is_named_by_page_and_key() -> None:
    assert panel_link("model", "psi") == ("barograph-model", 21)
    assert panel_link("pipeline", "lag").dashboard_uid == "barograph-pipeline"


def test_no_number_is_given_twice() -> None:
    assert PANELS.keys() == DASHBOARDS.keys()
    assert len(set(DASHBOARDS.values())) == len(DASHBOARDS)
    for page, panels in PANELS.items():
        assert len(set(panels.values())) == len(panels), page


def test_unknown_names_are_reported_with_the_known_ones() -> None:
    pages = "fleet, model, field, shadow, llm, pipeline"
    with pytest.raises(KeyError, match=f"'overview' is not a page; choose one of {pages}"):
        panel_link("overview", "psi")
    with pytest.raises(KeyError, match="'psy' is not a panel of page field; choose one of level, psi_now"):
        panel_link("field", "psy")
