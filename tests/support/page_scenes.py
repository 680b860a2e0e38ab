"""Pages of the preview in many states (tests and `make screenshots`), and the way from an alert's link to its panel."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import Page

from barograph_server.alerts import AlertSettings, Rule, rules_for
from barograph_server.alerts.simulator.history import read_changes, replay
from barograph_server.alerts.text import words
from barograph_server.dashboards import style
from barograph_server.dashboards.macros import TimeRange, expand_backend
from barograph_server.dashboards.page_files import panel_ids
from barograph_server.dashboards.pages import dashboards
from barograph_server.dashboards.style import STYLE
from barograph_server.dashboards.uids import DASHBOARDS
from barograph_server.local.clickhouse import READER, LocalClickHouse
from barograph_server.local.preview import PreviewServer
from barograph_server.operations.dev.page import open_incidents
from barograph_server.settings import Settings
from barograph_server.warehouse.client import Client
from tests.support.browser import PreviewPage
from tests.support.incident_models import (
    COST,
    DAY_S,
    END_S,
    NOW_S,
    ONE_MODEL,
    TWELVE_MODELS,
    PlantedIncident,
    contract_of,
    fill,
)
from tests.support.warehouse import migrated

WIDTHS = (1280, 1920)
REPLAY_TIMEOUT_MS = 240_000
"""How long a page may wait for the replay of the rules of twelve models."""
MODELS = {"one": ONE_MODEL, "twelve": TWELVE_MODELS}
SPANS = {
    "24h": (END_S - DAY_S, END_S),
    "30d": (END_S - 30 * DAY_S, END_S),
    "150d": (END_S - 150 * DAY_S, END_S),
    "after-silence": (NOW_S - 7 * DAY_S, NOW_S),
    "silent": (NOW_S - DAY_S, NOW_S),
}
"""Name of a range → its ends in Unix seconds. The last two days until `NOW_S` are silent."""
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Scene:
    page: str
    span: str
    models: str
    width: int

    @property
    def name(self) -> str:
        return f"{self.page}-{self.span}-{self.models}-{self.width}"

    @property
    def model(self) -> str:
        return COST if (self.page, self.models) == ("llm", "twelve") else ONE_MODEL[0]

    @property
    def path(self) -> str:
        start_s, end_s = SPANS[self.span]
        model = "" if self.page == "pipeline" else f"&var-model={self.model}"
        query = urlencode({"from": start_s * 1000, "to": end_s * 1000, "open": open_rows(self.page)})
        return f"/d/{DASHBOARDS[self.page]}?{query}{model}"

    def open(self, screen: PreviewPage, served: ServedModels) -> None:
        """Show the page on a screen of its width, with its incidents."""
        served.now_s, served.lists_incidents = NOW_S, True
        if self.page in ("fleet", "model"):
            # A page waits a minute for the replay of rules, and that of twelve models takes longer.
            served.incidents(0, SPANS[self.span][1] * 1000, self.model if self.page == "model" else "")
        screen.page.set_default_timeout(REPLAY_TIMEOUT_MS)
        screen.page.set_viewport_size({"width": self.width, "height": 1000})
        screen.open(self.path)


SCENES = [Scene(*each) for each in itertools.product(DASHBOARDS, SPANS, MODELS, WIDTHS)]


class ServedModels:
    """The planted models of one database, and the preview of them, on a clock of its own."""

    def __init__(self, client: Client, engine: LocalClickHouse) -> None:
        """Serve the models of the client's database; the caller starts the server."""
        self.client, self.now_s, self.lists_incidents = client, NOW_S, False
        self._settings = Settings(warehouse=engine.address(client.database))
        self._replayed: dict[tuple[int, str], Sequence[Json]] = {}
        self._lock = threading.Lock()
        self.server = PreviewServer(
            [*dashboards().values()],
            engine.address(client.database, READER),
            incidents=self.incidents,
            clock=lambda: self.now_s,
        )

    def incidents(self, from_ms: int, to_ms: int, model: str) -> Sequence[Json]:
        if not self.lists_incidents:
            return ()
        with self._lock:
            key = to_ms, model
            if key not in self._replayed:
                self._replayed[key] = open_incidents(self._settings, from_ms, to_ms, model)
            return self._replayed[key]


@contextmanager
def served_models(engine: LocalClickHouse) -> Iterator[dict[str, ServedModels]]:
    with ExitStack() as stack:
        result = {}
        for name, models in MODELS.items():
            client = stack.enter_context(migrated(engine))
            fill(client, models)
            served = ServedModels(client, engine)
            result[name] = served
            stack.enter_context(served.server)
        yield result


@dataclass(frozen=True)
class FiringAlert:
    rule: Rule
    link: str
    """The annotation `page`, without Grafana's address."""
    message: str
    """The annotation `summary`."""
    numbers: Mapping[str, float]
    """By the name of the query: A to E."""


def firing_alert(client: Client, incident: PlantedIncident) -> FiringAlert:
    settings = AlertSettings()
    (rule,) = (
        rule
        for rule in rules_for([contract_of(incident.model)], settings)
        if rule.name == incident.rule and incident.key in rule.signal.keys
    )
    since = incident.at_s - 10 * DAY_S
    replayed = replay(rule, read_changes(client, rule, since, incident.at_s, "judged"), since, incident.at_s)
    assert replayed.state(incident.key, incident.at_s) == "Alerting", incident
    at_ms = incident.at_s * 1000
    rows = client.arrow(expand_backend(rule.query, TimeRange(at_ms - 600_000, at_ms))).to_pylist()
    (row,) = (row for row in rows if row.get(rule.signal.label, "") == incident.key)
    numbers: dict[str, float] = {ref: float(row.pop(column)) for ref, column in rule.columns.items()}
    assert math.isfinite(numbers["A"]), numbers
    return FiringAlert(rule, words(rule.page_path, row, numbers), words(rule.message, row, numbers), numbers)


def walk(screen: PreviewPage, served: ServedModels, incident: PlantedIncident, alert: FiringAlert) -> None:
    """Follow an alert's link to the incident's panel."""
    served.now_s = incident.at_s
    screen.open(alert.link)


def panel_selector(incident: PlantedIncident) -> str:
    return f'[data-panel="{panel_ids(incident.page)[incident.panel]}"]'


SCRIPT = Path(__file__).with_name("page_layout.js")
COLOURS = sorted(
    {
        *STYLE.level_colours.values(),
        *STYLE.word_colours.values(),
        *STYLE.series_colours.values(),
        *(style.TEXT, style.NOTHING, style.INSUFFICIENT, style.DEPLOYMENT, style.NEW_BASELINE, style.DRILL),
    }
)
"""The palette: names of Grafana's colours, which the preview translates, and hexadecimal colours."""


def open_rows(page: str) -> str:
    return ",".join(str(panel["id"]) for panel in dashboards()[page]["panels"] if panel["type"] == "row")


def layout_faults(page: Page) -> list[str]:
    """Return a line for each fault of a page whose panels are drawn: its kind, where, and the text or the colour."""
    faults = page.evaluate(SCRIPT.read_text(encoding="utf-8"), COLOURS)
    return [f"{fault['kind']}: {fault['where']}: {fault['text']}" for fault in faults]
