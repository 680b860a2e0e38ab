"""What Fleet and Model say of twelve planted models, one incident each: the state, since when, and why."""

from datetime import UTC, datetime

from barograph_server.dashboards.macros import TimeRange
from barograph_server.warehouse.panels.named import named_queries
from tests.support.incident_models import COST, DAY_S, END_S, HEALTHY, HOUR_S, NOW_S, PROMPT, SHORT_DRIFT, TWELVE_MODELS
from tests.support.page_scenes import ServedModels
from tests.support.two_day_model import ask

AT_S = END_S + 1800
RANGE = TimeRange((AT_S - 7 * DAY_S) * 1000, AT_S * 1000)
MOVED_S = END_S - 2 * DAY_S
STATES = {
    "payment-fraud": ("major", MOVED_S, "drift of amount, 1d: PSI 2."),
    "loan-default": ("major", MOVED_S, "drift of age, 1d: PSI 3."),
    "card-fraud": ("major", MOVED_S, "drift of device, 1d: PSI 1."),
    "search-ranking": ("major", MOVED_S, "8 % of predictions slow, SLO 2 %"),
    "ad-clicks": ("major", MOVED_S, "5 % of predictions failed, SLO 1 %"),
    "churn": ("major", END_S - 6 * HOUR_S, "silent for 7 h, usual gap 3 h"),
    "credit-limit": ("major", MOVED_S + DAY_S, "auc, 1d: 0.6"),
    "returns": ("minor", MOVED_S, "no label for 2 days, usual gap 24 h"),
    PROMPT: ("major", END_S - 3 * HOUR_S, "prompt answer@8: refusals worse by 8 %, margin 2 %"),
    COST: ("minor", END_S, "15.00 $ spent today, budget 10 $"),
    SHORT_DRIFT: ("major", END_S - 16 * HOUR_S, "drift of age, 1d: PSI 0."),
}
"""Model → its state, when it began, and how the reason begins."""


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_each_incident_is_on_fleet_with_its_onset_and_cause(served: dict[str, ServedModels]) -> None:
    client = served["twelve"].client
    names = named_queries()["fleet.models_now"].names
    rows = [dict(zip(names, row, strict=True)) for row in ask(client, "fleet.models_now", time_range=RANGE)]
    assert {row["model"] for row in rows} == set(TWELVE_MODELS)
    assert [row["state"] for row in rows] == ["major"] * 9 + ["minor"] * 2 + ["stable"]
    assert (rows[-1]["model"], rows[-1]["since"], rows[-1]["why"]) == (HEALTHY, "", "")
    for row in rows[:-1]:
        state, since_s, why = STATES[row["model"]]
        assert row["state"] == state, row
        # A window exceeds its threshold when enough of it has moved; of traffic, hours say when it began.
        assert since_s <= seconds(row["since"]) <= since_s + ("of predictions" not in why) * 12 * HOUR_S, row
        assert row["why"].startswith(why), row
        assert ("–" in row["why"]) == ("PSI" in why or "auc" in why), "an interval, where there is one"
    assert {row["others"].partition(",")[0] for row in rows} == {"", "nulls of age", "unseen categories of device"}
    # Lists of models have the same order.
    assert [model for (model,) in ask(client, "variables.models", time_range=RANGE)] == [row["model"] for row in rows]
    assert ask(client, "variables.language_models", time_range=RANGE) == [(PROMPT,), (COST,)]
    assert ask(client, "variables.models_with_candidate", time_range=RANGE) == [("payment-fraud",)]


def test_a_model_page_lists_all_that_is_wrong(served: dict[str, ServedModels]) -> None:
    client = served["twelve"].client
    wrong = ask(client, "states.model", time_range=RANGE, model="loan-default")
    assert [why.partition(",")[0] for state, _, why in wrong if state == "major"] == ["drift of age", "nulls of age"]
    assert ask(client, "states.model", time_range=RANGE, model=HEALTHY) == [("stable", "", "")]


def test_silence_is_counted_from_the_last_request_ever(served: dict[str, ServedModels]) -> None:
    later = TimeRange((NOW_S - 3 * HOUR_S) * 1000, NOW_S * 1000)
    rows = ask(served["twelve"].client, "states.model", time_range=later, model=HEALTHY)
    state, since, why = rows[0]
    assert state == "major"
    assert END_S - HOUR_S <= seconds(since) <= END_S
    assert why == "silent for 2 days, usual gap 3 h"
