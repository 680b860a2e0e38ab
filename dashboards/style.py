"""One look for all pages: the data source, units, colours, and the words and colours of levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from warehouse.panels.fragments import LEVEL_NUMBERS

GRAFANA_VERSION = "13.2.3"
PLUGIN = "grafana-clickhouse-datasource"
PLUGIN_VERSION = "4.20.0"

NOT_JUDGED = 0
"""Stands for a level where there is no verdict."""


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


TEXT, GOOD, MINOR, MAJOR, INSUFFICIENT, NOTHING = "text", "green", "yellow", "red", "purple", "#808080"
TRAINING, NOW, BOUND, MIDDLE = "blue", "orange", "light-blue", "dark-blue"
"""Names of Grafana's palette, which it draws for light and dark themes."""


class Style(NamedTuple):
    """What all panels share: where they read, units, and colours by meaning."""

    units: Units = Units()
    datasource_variable: str = "datasource"
    level_colours: Mapping[str, str] = MappingProxyType(
        {"stable": GOOD, "insufficient": INSUFFICIENT, "minor": MINOR, "major": MAJOR}
    )
    word_colours: Mapping[str, str] = MappingProxyType(
        {
            "no verdict": NOTHING,
            "silent": MAJOR,
            "active": GOOD,
            "reports": GOOD,
            "labels still come": INSUFFICIENT,
        }
    )
    series_colours: Mapping[str, str] = MappingProxyType(
        {
            "minor line": MINOR,
            "major line": MAJOR,
            "promise": MAJOR,
            "ks threshold": MAJOR,
            "training": TRAINING,
            "now": NOW,
            "at least": BOUND,
            "at most": BOUND,
            "p05": BOUND,
            "p25": TRAINING,
            "p50": MIDDLE,
            "p75": TRAINING,
            "p95": BOUND,
            "p99": MAJOR,
            "mean": NOW,
            "shown": NOW,
            "mean score": TRAINING,
            "share that came true": NOW,
        }
    )
    """Lines that mean the same wherever they are drawn."""

    @property
    def datasource_uid(self) -> str:
        """The uid that panels name: the page's variable, so that one page serves several servers."""
        return f"${{{self.datasource_variable}}}"

    def numbered_levels(self) -> dict[str, tuple[str, str]]:
        """Number as text → the word and colour that are shown for it: never a colour alone."""
        words = {str(NOT_JUDGED): ("no verdict", self.word_colours["no verdict"])}
        return words | {str(number): (word, self.level_colours[word]) for word, number in LEVEL_NUMBERS.items()}

    def words(self) -> dict[str, str]:
        """Word of a table's cell → its colour."""
        return {**self.level_colours, **self.word_colours}


STYLE = Style()
