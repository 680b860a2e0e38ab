"""All queries of the dashboards by their names: the files `*.sql` of this folder are templates that define them."""

from collections.abc import Callable
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from barograph_server.sketches.drift.rates import RATE_KIND_NAMES
from barograph_server.warehouse.operations.metrics import metrics_of_panel
from barograph_server.warehouse.operations.processor_reports import BUCKET_S
from barograph_server.warehouse.panels import cells, fragments, label_intervals, query
from barograph_server.warehouse.panels.query import PanelQuery
from barograph_server.warehouse.queries import NO_DRILLS
from barograph_server.warehouse.rollouts import arm_comparisons
from barograph_server.warehouse.signals.costs import budget_numbers_sql
from barograph_server.warehouse.signals.labels import MAIN_METRICS
from barograph_server.warehouse.signals.literals import literals
from barograph_server.warehouse.signals.pipeline import uncounted_spans_sql

_FOLDER = Path(__file__).parent
# A model has the metrics of one kind, and the panel shows the first of them.
_MAIN_METRICS = tuple(dict.fromkeys(name for names in zip_longest(*MAIN_METRICS.values()) for name in names if name))


_QUERIES: dict[str, PanelQuery] = {}


@cache
def named_queries() -> dict[str, PanelQuery]:
    """Return every query by its name."""
    environment = _environment()
    for file in sorted(_FOLDER.glob("*.sql")):
        environment.get_template(file.name).render()
    return _QUERIES


@cache
def constants(name: str) -> Any:
    """Return what a file sets, such as `constants("drift").SHOWN_LINES`."""
    return _environment().get_template(f"{name}.sql").module


@cache
def _environment() -> Environment:
    # It writes SQL, never HTML. Selected values reach SQL only through `is_selected` and `selected`.
    environment = Environment(  # noqa: S701
        loader=FileSystemLoader(_FOLDER), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    for module in (fragments, cells, label_intervals):
        environment.globals |= {name: value for name, value in vars(module).items() if not name.startswith("_")}
    for module in (query, arm_comparisons):
        environment.globals |= {name: value for name, value in vars(module).items() if name.isupper()}
    environment.globals |= {
        "table": _block(query.table),
        "series": _block(query.series),
        "hourly": _block(query.hourly),
        "statistics_of": query.statistics_of,
        "window_statistics": lambda *texts: _add(query.window_statistics(*texts)),
        "literals": literals,
        "metrics_of_panel": metrics_of_panel,
        "budget_numbers_sql": budget_numbers_sql,
        "uncounted_spans_sql": uncounted_spans_sql,
        "BUCKET_S": BUCKET_S,
        "MAIN_METRICS": _MAIN_METRICS,
        "NO_DRILLS": NO_DRILLS,
        "RATE_KIND_NAMES": RATE_KIND_NAMES,
    }
    return environment


def _block(make: Callable[..., PanelQuery]) -> Callable[..., str]:
    """Return a function for `{% call %}`, whose block is the SQL."""
    return lambda name, columns, *, caller, **times: _add(make(name, caller(), columns, **times))


def _add(query: PanelQuery) -> str:
    assert _QUERIES.setdefault(query.name, query) == query, f"two queries have the name {query.name}"
    return ""
