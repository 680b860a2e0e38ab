"""Calendar periods of the production data, in UTC, and the windows by which they are judged."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from barograph.contract import Contract, Window

from barograph_server.batch.compare.errors import CompareError
from barograph_server.terminal import plural, utc_minute

Grain = Literal["month", "week", "day", "hour", "all"]

MAX_PERIODS = 2_000
"""Most periods of one report."""
HOUR_S, DAY_S, WEEK_S = 3600, 86_400, 7 * 86_400
MONTH_S = 30 * DAY_S
"""Length of the windows whose φ months use."""

LEARNED = (Window(HOUR_S, 300), Window(DAY_S, HOUR_S), Window(WEEK_S, DAY_S), Window(MONTH_S, DAY_S))
"""Windows whose φ is learned for periods, ascending; those longer than the periods are left out."""

_LENGTH_S: dict[Grain, int] = {"hour": HOUR_S, "day": DAY_S, "week": WEEK_S, "month": MONTH_S}
_PANE_S: dict[Grain, int] = {"hour": HOUR_S, "day": DAY_S, "week": DAY_S, "month": DAY_S, "all": MONTH_S}
_EDGE_S: dict[Grain, int] = {"hour": 300, "day": HOUR_S, "week": DAY_S, "month": DAY_S}
_SPANS: dict[Grain, int] = {"month": 60 * DAY_S, "week": 14 * DAY_S, "day": 2 * DAY_S, "hour": 2 * HOUR_S}
"""Grain of periods → least span of the production data in seconds, which covers at least one of them whole."""


class PeriodWindow(Window, frozen=True):
    """A period as a window that has the name, and so the φ, of another length."""

    phi_name: str = ""
    """Name of the learned window length; empty if none was learned."""

    @property
    def name(self) -> str:
        """The name of the learned window length."""
        return self.phi_name


@dataclass(frozen=True, slots=True)
class Period:
    """A period [start, end) of event time."""

    label: str
    start_s: int
    end_s: int
    is_whole: bool
    """Whether the data covers the period from start to end; otherwise its levels are `insufficient`."""


def choose_grain(first_ms: int, last_ms: int) -> Grain:
    """Choose the grain of periods by the span of the data; below two hours all rows are one period."""
    span_s = (last_ms - first_ms) / 1000
    return next((grain for grain, least_s in _SPANS.items() if span_s >= least_s), "all")


def pane_length_s(grain: Grain, contract: Contract) -> int:
    """Return the length of the panes that periods consist of; with hours of the week in the contract, an hour."""
    return HOUR_S if contract.season != "none" else _PANE_S[grain]


def learned_windows(grain: Grain, span_s: float) -> tuple[Window, ...]:
    """Return the window lengths whose φ is learned for periods of a grain.

    Args:
        span_s: of the production data, which is the length of the one period of `all`.
    """
    longest_s = _LENGTH_S.get(grain, span_s)
    return tuple(window for window in LEARNED if window.length_s <= longest_s) or LEARNED[:1]


def make_periods(grain: Grain, first_ms: int, last_ms: int, pane_s: int) -> list[Period]:
    """Split the time from the first to the last event into periods, ascending.

    Args:
        grain: of the periods. Weeks begin on Mondays; `all` is one period.
        pane_s: length of a pane, to whose multiples the period of `all` is extended.

    Raises:
        CompareError: there are too many periods.
    """
    if grain == "all":
        start_s = first_ms // 1000 // pane_s * pane_s
        end_s = (last_ms // 1000 // pane_s + 1) * pane_s
        return [Period("all rows", start_s, end_s, True)]
    edge_s = _EDGE_S[grain]
    covered_from_s = first_ms // 1000 // edge_s * edge_s
    covered_to_s = (last_ms // 1000 // edge_s + 1) * edge_s
    periods = []
    for label, start_s, end_s in _starts(grain, first_ms // 1000):
        if start_s * 1000 > last_ms:
            break
        periods.append(Period(label, start_s, end_s, start_s >= covered_from_s and end_s <= covered_to_s))
        if len(periods) > MAX_PERIODS:
            raise CompareError(
                f"--by {grain} gives more than {plural(MAX_PERIODS, 'period')} from {utc_minute(first_ms / 1000)} to "
                f"{utc_minute(last_ms / 1000)}: choose longer periods, or compare a shorter range."
            )
    return periods


def windows_of(periods: Sequence[Period], phi_name: str) -> dict[PeriodWindow, list[Period]]:
    """Group periods by length, each length as a window."""
    groups: dict[PeriodWindow, list[Period]] = {}
    for period in periods:
        length_s = period.end_s - period.start_s
        groups.setdefault(PeriodWindow(length_s, length_s, phi_name=phi_name), []).append(period)
    return groups


def _starts(grain: Grain, first_s: int) -> Iterator[tuple[str, int, int]]:
    """Yield label, start and end of the periods from the one that contains a time on."""
    at = datetime.fromtimestamp(first_s, UTC)
    if grain == "hour":
        at = at.replace(minute=0, second=0)
    else:
        at = at.replace(hour=0, minute=0, second=0)
        at -= timedelta(days=at.day - 1 if grain == "month" else at.weekday() if grain == "week" else 0)
    while True:
        if grain == "month":
            following = (at + timedelta(days=31)).replace(day=1)
            label = f"{at:%Y-%m}"
        else:
            following = at + timedelta(seconds=_LENGTH_S[grain])
            label = f"{at:%Y-%m-%d %H:%M}" if grain == "hour" else f"{at:%Y-%m-%d}"
        yield label, int(at.timestamp()), int(following.timestamp())
        at = following
