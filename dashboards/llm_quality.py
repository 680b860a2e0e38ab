"""The row Quality of the page LLM: how many answers are faulty, by checks, judges and the labels of people."""

from __future__ import annotations

from functools import partial

from barograph_server.dashboards.layout import PlacedPanel, Row
from barograph_server.dashboards.panels import AnyPanel, PanelInfo, table_panel, time_series
from barograph_server.dashboards.style import STYLE
from barograph_server.warehouse.panels import evaluations, suites_and_reviews

UNITS = STYLE.units
DOLLARS = "currencyUSD"
_info = partial(PanelInfo, "llm")


def _rates() -> AnyPanel:
    info = _info(
        "fault_rates",
        "Faulty answers",
        "`flagged`: share that the evaluator calls faulty. `faulty`: the rate with its 95 % interval in percent, which "
        "weighs the verdicts by how often people agree with each; labels must be of a random part of the answers, and "
        "count as truth here. Versions of an evaluator are never joined. `not weighted`: answers were chosen with "
        "different shares; `barograph evaluations` and the panel below weigh them, and allow for errors of people.",
    )
    units = {
        **dict.fromkeys(("evaluated", "no result", "labels"), UNITS.count),
        **dict.fromkeys(("flagged", "agree", "faulty"), UNITS.share),
    }
    return table_panel(info, evaluations.RATES, units=units)


def _stored_rates() -> AnyPanel:
    info = _info(
        "stored_rates",
        "Faulty answers of seven days",
        "The corrected rate of the seven days before, with the ends of its 95 % interval, by evaluator and version. "
        "Labels count as truth until two people have labelled 20 answers. "
        "The scorer computes it about hourly; the rule on promised rates reads it.",
        UNITS.share,
    )
    return time_series(info, evaluations.STORED_RATES, at_least=0)


def _agreement() -> AnyPanel:
    info = _info(
        "agreement",
        "Evaluators against labels",
        "Answers with a label by what people say (faulty, sound) and what the evaluator says (flagged, missed or "
        "accepted). Sensitivity: share of faulty answers that it flags. Specificity: share of sound answers that it "
        "accepts. Both with 95 % intervals in percent.",
    )
    counts = ("faulty, flagged", "faulty, missed", "sound, accepted", "sound, flagged")
    return table_panel(info, evaluations.AGREEMENT, units=dict.fromkeys(counts, UNITS.count))


def _suites() -> AnyPanel:
    info = _info(
        "suites",
        "Evaluation suites",
        "Runs of suites by version, with the mean score and its 95 % interval in percent, clustered by item. The gate "
        "compares with the run that was accepted last.",
    )
    return table_panel(info, suites_and_reviews.SUITES, units={"items": UNITS.count, "score": UNITS.share})


def _reviews() -> AnyPanel:
    info = _info(
        "reviews",
        "Human review",
        "Labels of people: answers, gold labels (of answers chosen at random), answers that two people labelled, and "
        "the share of these on which they agree.",
    )
    counts = ("people", "answers", "gold", "not sure", "labelled twice")
    units = {**dict.fromkeys(counts, UNITS.count), "agree": UNITS.share}
    return table_panel(info, suites_and_reviews.REVIEWS, units=units)


def _trust() -> AnyPanel:
    info = _info(
        "evaluator_trust",
        "AUROC of evaluators",
        "AUROC: the share of pairs of a sound and a faulty answer, by the labels, which count as truth, in which the "
        "evaluator gives the sound one the higher score, rounded to hundredths; 0.5 is chance. An evaluator is trusted "
        "if the 95 % interval is above 0.5.",
    )
    return table_panel(info, evaluations.TRUST, units=dict.fromkeys(("faulty", "sound"), UNITS.count))


def _flagged() -> AnyPanel:
    info = _info(
        "flagged",
        "Flagged answers",
        "Share of the evaluated answers of each hour that an evaluator calls faulty, by evaluator and version. It is "
        "not the rate of faulty answers: the evaluator errs, too.",
        UNITS.share,
    )
    return time_series(info, evaluations.FLAGGED, at_least=0)


def _without_result() -> AnyPanel:
    info = _info(
        "without_result",
        "Answers without a result",
        "Chosen answers that an evaluator could not evaluate, or skipped, by reason.",
        UNITS.count,
    )
    return time_series(info, evaluations.WITHOUT_RESULT, stacked=True, at_least=0)


def _citation_faults() -> AnyPanel:
    info = _info(
        "citation_faults",
        "Citations by fault",
        "Claims of answers whose source says something else (altered), does not say it (unsupported), or does not "
        "exist (unknown source).",
        UNITS.count,
    )
    return time_series(info, evaluations.CITATION_FAULTS, stacked=True, at_least=0)


def _cost() -> AnyPanel:
    info = _info("judge_cost", "Cost of judges", "Cost in each step, at the prices of the endpoint.", DOLLARS)
    return time_series(info, evaluations.COST, stacked=True, at_least=0)


def _latency() -> AnyPanel:
    info = _info(
        "judge_latency",
        "Duration of judges, p95",
        "95 % of the evaluations of a step took at most this, retries included; rounded up by at most 5 %.",
        UNITS.milliseconds,
    )
    return time_series(info, evaluations.LATENCY, at_least=0)


def row() -> Row:
    """The row, folded."""
    panels = (
        PlacedPanel(_rates(), 24, 9),
        PlacedPanel(_stored_rates(), 24, 8),
        PlacedPanel(_agreement(), 24, 7),
        PlacedPanel(_trust(), 24, 6),
        *(PlacedPanel(panel, 12, 8) for panel in (_suites(), _reviews())),
        *(PlacedPanel(panel, 8, 8) for panel in (_flagged(), _citation_faults(), _without_result())),
        *(PlacedPanel(panel, 12, 8) for panel in (_cost(), _latency())),
    )
    return Row("Quality", panels, folded=True)
