"""Style of all pages: data source, units, colours, and the words and colours of levels."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from barograph_server.warehouse.panels.fragments import LEVEL_NUMBERS, OUTCOME_NUMBERS, STATE_NUMBERS
from barograph_server.warehouse.signals.verdicts import LIKE, UNLIKE

GRAFANA_VERSION = "13.2.3"
PLUGIN = "grafana-clickhouse-datasource"
PLUGIN_VERSION = "4.20.0"

NOT_JUDGED = 0
"""Number of the pseudo-level "no verdict"."""


@dataclass(frozen=True, slots=True)
class Units:
    """Grafana's names of units."""

    share: str = "percentunit"
    count: str = "short"
    plain: str = "none"
    seconds: str = "s"
    milliseconds: str = "ms"
    per_minute: str = "reqpm"
    per_second: str = "cps"
    bytes: str = "bytes"
    dollars: str = "currencyUSD"


TEXT, GOOD, MINOR, MAJOR, INSUFFICIENT, NOTHING = "text", "green", "yellow", "red", "#c7d0d9", "#808080"
TRAINING, NOW, BOUND, MIDDLE = "blue", "orange", "light-blue", "dark-blue"
WARNING_LINE, LIMIT_LINE = "semi-dark-orange", "semi-dark-red"  # Grafana's palette of series has neither.
DEPLOYMENT, NEW_BASELINE, DRILL, PROMPT_CHANGE = "blue", "purple", "orange", "dark-blue"
"""Names in Grafana's palette, which has light and dark variants."""


LEAST_PSI = 0.00001
"""Lower end of logarithmic axes of PSI: that of a window of a million events without drift is above it."""


class Style(NamedTuple):
    """Settings that all panels share: data source, units, and colours by meaning."""

    units: Units = Units()
    datasource_variable: str = "datasource"
    level_colours: Mapping[str, str] = MappingProxyType(
        {"stable": GOOD, LIKE: BOUND, "insufficient": INSUFFICIENT, UNLIKE: NOW, "minor": MINOR, "major": MAJOR}
    )
    word_colours: Mapping[str, str] = MappingProxyType(
        {
            "no verdict": NOTHING,
            "silent": MAJOR,
            "reports": GOOD,
            "insufficient": TEXT,
            "maturing": TEXT,
            "met": GOOD,
            "open": TEXT,
            "worse": MAJOR,
            "harm": MAJOR,
            "passed": GOOD,
            "failed": MAJOR,
            "never run": TEXT,
            "healthy": GOOD,
            "degraded": MAJOR,
        }
    )
    series_colours: Mapping[str, str] = MappingProxyType(
        {
            "minor threshold": WARNING_LINE,
            "major threshold": LIMIT_LINE,
            "SLO": LIMIT_LINE,
            "ks threshold": LIMIT_LINE,
            "baseline": TRAINING,
            "reference": TRAINING,
            "measured": NOW,
            "estimated": NOW,
            "none": GOOD,
            "now": NOW,
            "at least": BOUND,
            "at most": BOUND,
            "p05": BOUND,
            "p25": TRAINING,
            "p50": MIDDLE,
            "p75": TRAINING,
            "p95": BOUND,
            "p99": NOW,
            "mean": NOW,
            "difference": NOW,
            "margin": LIMIT_LINE,
            "no difference": GOOD,
            "requests": TRAINING,
            "pairs": NOW,
            "primary p50": TRAINING,
            "candidate p50": NOW,
            "primary p99": MIDDLE,
            "candidate p99": "dark-orange",
        }
    )
    """Colours of series that have the same meaning on every panel."""

    @property
    def datasource_uid(self) -> str:
        """The data source uid of panels: the page's variable, so that one page works with several servers."""
        return f"${{{self.datasource_variable}}}"

    def numbered_levels(self) -> dict[str, tuple[str, str]]:
        """Number as text → the word and colour to show."""
        words = {str(NOT_JUDGED): ("no verdict", self.word_colours["no verdict"])}
        return words | {str(number): (word, self.level_colours[word]) for word, number in LEVEL_NUMBERS.items()}

    def numbered_outcomes(self) -> dict[str, tuple[str, str]]:
        """Number as text of a decision about a candidate → the word and colour to show."""
        colours = {"promote": GOOD, "insufficient": INSUFFICIENT, "hold": MAJOR, "keep": GOOD, "roll back": MAJOR}
        return {str(number): (word, colours[word]) for word, number in OUTCOME_NUMBERS.items()}

    def numbered_states(self) -> dict[str, tuple[str, str]]:
        """Number as text of a model's state for serving → the word and colour to show."""
        colours = {"healthy": GOOD, "no record": NOTHING, "unknown": MINOR, "degraded": MAJOR}
        return {str(number): (word, colours[word]) for word, number in STATE_NUMBERS.items()}

    def words(self) -> dict[str, str]:
        """Word in a table cell → its colour. A light grey would be hard to read, so `insufficient` is plain text."""
        return {**self.level_colours, **self.word_colours}


STYLE = Style()
