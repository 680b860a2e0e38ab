"""The files of the pages (`model.yaml`): their rows from top to bottom, and in each its panels: texts and queries."""

from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import yaml


class PanelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str
    """Its name in alert rules (`panel_link`)."""
    id: int
    """Its id on the page. A key never changes its id, and the id of a removed panel is never reused."""
    size: tuple[int, int]
    """Width in columns of the grid, and height."""
    kind: str
    """One of `panels.KINDS`."""
    title: str
    description: str
    """May contain constants of modules with queries: `{drift.SHOWN_FIELDS}`."""
    queries: tuple[str, ...] = ()
    """Their names (`drift.psi`)."""
    unit: str = "plain"
    """A member of `Units`."""
    units: dict[str, str] = {}
    """Units of single columns or series."""
    link: str = ""
    """A key of `LINKS`."""
    empty: str = ""
    """Why it is empty: one line that it shows instead of nothing."""
    text: str = ""
    """Content in Markdown."""
    options: dict[str, Any] = {}
    """Further arguments of its constructor in `panels.py`."""


class RowEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A titled row. Details go into folded rows; Grafana runs their queries when the row is opened."""

    title: str
    panels: tuple[PanelEntry, ...]
    folded: bool = False


@cache
def read_rows(page: str) -> tuple[RowEntry, ...]:
    text = Path(__file__).with_name(f"{page}.yaml").read_text("utf-8")
    return msgspec.convert(yaml.load(text, Loader=yaml.CSafeLoader), tuple[RowEntry, ...])


def panel_ids(page: str) -> dict[str, int]:
    """Key of each panel of a page → its id."""
    return {panel.key: panel.id for row in read_rows(page) for panel in row.panels}
