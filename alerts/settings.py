"""The installation's side of alerts: contact points, routes, mute timings. The section `alerts` of the settings.

Contracts say what is wrong and whom it concerns; where that is told is known to the installation alone. Secrets are
named by the variables of the environment that hold them, and never stand in the file.
"""

from __future__ import annotations

import difflib
import re
import zoneinfo
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["pagerduty", "slack", "webhook"]
FOLDER_UID = "barograph"
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
DEFAULT_POINT = "barograph"
DEFAULT_VARIABLE = "ALERTS_WEBHOOK_URL"


class AlertsError(ValueError):
    """Rules, routes or settings of alerts do not fit together; the text says what to change."""


@dataclass(frozen=True, slots=True)
class Integration:
    """One way in which a contact point is told."""

    kind: Kind
    variable: str = ""
    """Variable of the environment that holds the URL or, for PagerDuty, the integration key."""
    url: str = ""
    """A URL that is no secret; of webhooks alone."""
    bearer_variable: str = ""
    """Variable that holds a bearer token; of webhooks alone."""

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables that it needs."""
        return tuple(filter(None, (self.variable, self.bearer_variable)))


@dataclass(frozen=True, slots=True)
class Route:
    """The contact points of one route, by severity."""

    page: str
    ticket: str

    def point(self, severity: str) -> str:
        """The contact point of a severity."""
        return self.page if severity == "page" else self.ticket


@dataclass(frozen=True, slots=True)
class MuteTiming:
    """When nothing is told: all of its parts must hold."""

    times: tuple[tuple[str, str], ...] = ()
    weekdays: tuple[str, ...] = ()
    days_of_month: tuple[str, ...] = ()
    months: tuple[str, ...] = ()
    timezone: str = "UTC"

    @property
    def interval(self) -> dict[str, Any]:
        """It as Grafana and Alertmanager write it."""
        interval: dict[str, Any] = {}
        if self.times:
            interval["times"] = [{"start_time": start, "end_time": end} for start, end in self.times]
        for key in ("weekdays", "days_of_month", "months"):
            if getattr(self, key):
                interval[key] = list(getattr(self, key))
        return interval | {"location": self.timezone}


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """What the installation says of alerts."""

    contact_points: Mapping[str, tuple[Integration, ...]] = field(
        default_factory=lambda: {DEFAULT_POINT: (Integration("webhook", DEFAULT_VARIABLE),)}
    )
    default: str = DEFAULT_POINT
    """Contact point of models without a route."""
    platform: str = DEFAULT_POINT
    """Contact point of what concerns the pipeline, and of rules that cannot be evaluated."""
    platform_team: str = "platform"
    routes: Mapping[str, Route] = field(default_factory=dict)
    mute_timings: Mapping[str, MuteTiming] = field(default_factory=dict)
    folder: str = "Barograph"
    datasource: str = "barograph"
    """Uid of the data source."""
    runbooks: str = "docs/runbooks"
    """The URL at which the folder of runbooks is read; by default where it is in this repository."""
    configured: bool = False
    """Whether there was such a section. Without one every route leads to the default."""

    def route(self, name: str) -> Route:
        """Where a route leads.

        Raises:
            AlertsError: it is neither a route nor a contact point.
        """
        if not name or (name not in self.routes and name not in self.contact_points and not self.configured):
            return Route(self.default, self.default)
        if name in self.routes:
            return self.routes[name]
        if name in self.contact_points:
            return Route(name, name)
        raise AlertsError(
            f"the route {name!r} is not known here; {_nearest(name, [*self.routes, *self.contact_points])}, or write "
            f'[alerts.routes."{name}"] with page and ticket in the settings'
        )


def read_alert_settings(tree: Any, where: str) -> AlertSettings:
    """Read the section.

    Args:
        tree: the section as a parser of TOML or YAML gives it.
        where: the file, for messages.

    Raises:
        AlertsError: a key is unknown, a value does not fit, or a name leads nowhere.
    """
    reader = _Reader(where)
    section = reader.table(tree, "alerts")
    known = ("contact_points", "routes", "mute_timings", *_TEXTS)
    reader.known(section, known, "alerts")
    points = {
        name: reader.contact_point(value, f"alerts.contact_points.{name}")
        for name, value in reader.table(section.get("contact_points", {}), "alerts.contact_points").items()
    }
    if not points:
        raise AlertsError(f"{where}: alerts.contact_points is missing; write [alerts.contact_points.NAME.slack] or so")
    texts = {key: reader.text(section[key], f"alerts.{key}") for key in _TEXTS if key in section}
    default = texts.setdefault("default", next(iter(points)))
    texts.setdefault("platform", default)
    for key in ("default", "platform"):
        reader.point(texts[key], f"alerts.{key}", points)
    routes = {}
    for name, value in reader.table(section.get("routes", {}), "alerts.routes").items():
        path = f"alerts.routes.{name}"
        route = reader.table(value, path)
        reader.known(route, ("page", "ticket"), path)
        told = {key: reader.text(route.get(key, default), f"{path}.{key}") for key in ("page", "ticket")}
        for key, point in told.items():
            reader.point(point, f"{path}.{key}", points)
        routes[name] = Route(**told)
    timings = {
        name: reader.mute_timing(value, f"alerts.mute_timings.{name}")
        for name, value in reader.table(section.get("mute_timings", {}), "alerts.mute_timings").items()
    }
    return AlertSettings(contact_points=points, routes=routes, mute_timings=timings, configured=True, **texts)


_TEXTS = ("default", "platform", "platform_team", "folder", "datasource", "runbooks")
_INTEGRATIONS: dict[Kind, dict[str, str]] = {
    "pagerduty": {"key_variable": "variable"},
    "slack": {"url_variable": "variable"},
    "webhook": {"url_variable": "variable", "url": "url", "bearer_variable": "bearer_variable"},
}


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads values of the section; messages begin with the file and the key."""

    where: str

    def fail(self, path: str, problem: str) -> AlertsError:
        return AlertsError(f"{self.where}: {path} {problem}")

    def table(self, value: Any, path: str) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise self.fail(path, f"is {value!r}; write a section [{path}]")
        return value

    def text(self, value: Any, path: str) -> str:
        if not isinstance(value, str) or not value:
            raise self.fail(path, f"is {value!r}; write text")
        return value

    def known(self, table: Mapping[str, Any], keys: Iterable[str], path: str) -> None:
        for key in table:
            if key not in set(keys):
                raise self.fail(f"{path}.{key}", f"is not known; {_nearest(key, keys)}")

    def point(self, name: str, path: str, points: Iterable[str]) -> None:
        if name not in set(points):
            raise self.fail(path, f"names the contact point {name!r}, which is not there; {_nearest(name, points)}")

    def contact_point(self, value: Any, path: str) -> tuple[Integration, ...]:
        table = self.table(value, path)
        self.known(table, _INTEGRATIONS, path)
        if not table:
            raise self.fail(path, "tells nobody; write pagerduty, slack or webhook below it")
        return tuple(self.integration(kind, table[kind], f"{path}.{kind}") for kind in _INTEGRATIONS if kind in table)

    def integration(self, kind: Kind, value: Any, path: str) -> Integration:
        table = self.table(value, path)
        members = _INTEGRATIONS[kind]
        self.known(table, members, path)
        given = {members[key]: self.text(each, f"{path}.{key}") for key, each in table.items()}
        for key in table:
            if key.endswith("_variable") and not VARIABLE.fullmatch(table[key]):
                raise self.fail(f"{path}.{key}", "names no variable of the environment; write one such as SLACK_URL")
        if not given.get("variable") and not given.get("url"):
            raise self.fail(path, f"has no address; write {next(iter(members))} with the variable that holds it")
        return Integration(kind, **given)

    def mute_timing(self, value: Any, path: str) -> MuteTiming:
        table = self.table(value, path)
        self.known(table, ("times", "weekdays", "days_of_month", "months", "timezone"), path)
        times = []
        for each in self.texts(table.get("times", []), f"{path}.times"):
            found = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)", each)
            if found is None or each[:5] >= each[6:]:
                raise self.fail(f"{path}.times", f"holds {each!r}; write times of one day such as 01:00-05:30")
            times.append((each[:5], each[6:]))
        weekdays = self.texts(table.get("weekdays", []), f"{path}.weekdays")
        for day in (part for each in weekdays for part in each.split(":")):
            if day not in WEEKDAYS:
                raise self.fail(f"{path}.weekdays", f"holds {day!r}; {_nearest(day, WEEKDAYS)}")
        zone = self.text(table.get("timezone", "UTC"), f"{path}.timezone")
        if zone not in zoneinfo.available_timezones():
            raise self.fail(f"{path}.timezone", f"is {zone!r}; write an IANA name such as Europe/Berlin")
        days, months = (self.ranges(table.get(key, []), f"{path}.{key}") for key in ("days_of_month", "months"))
        if not times and not weekdays and not days and not months:
            raise self.fail(path, "would mute for ever; write times, weekdays, days_of_month or months")
        return MuteTiming(tuple(times), weekdays, days, months, zone)

    def texts(self, value: Any, path: str) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise self.fail(path, f"is {value!r}; write a list")
        return tuple(self.text(each, path) for each in value)

    def ranges(self, value: Any, path: str) -> tuple[str, ...]:
        ranges = self.texts([str(each) for each in value] if isinstance(value, list) else value, path)
        for each in ranges:
            if not re.fullmatch(r"-?\d{1,2}(:-?\d{1,2})?", each):
                raise self.fail(path, f"holds {each!r}; write numbers or ranges such as 1:7")
        return ranges


def _nearest(word: str, known: Iterable[str]) -> str:
    words = list(known)
    close = difflib.get_close_matches(word, words, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"there are {', '.join(words)}" if words else "there is none"
