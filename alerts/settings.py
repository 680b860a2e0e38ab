"""Alert delivery of an installation: contact points, routes and mute timings, the section `alerts` of the settings.

Contracts define the rules and name a route; the installation maps routes to contact points. The file names the
environment variables that hold secrets, never the secrets themselves.
"""

import re
import zoneinfo
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from barograph.contract.kinds import (
    Diagnostics,
    Key,
    ListKind,
    MapKind,
    NameKind,
    Path,
    RecordKind,
    Unreadable,
    nearest,
)
from barograph.contract.problems import ContractError, quoted
from barograph.contract.yaml_nodes import Node

from barograph_server.warehouse.configuration import node_of, read_value

Kind = Literal["pagerduty", "slack", "webhook"]
FOLDER_UID = "barograph-alerts"
"""UID of the folder of rules, over the HTTP API; Grafana chooses one for files, which name a folder by its title."""
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
"""Name of an environment variable. Keys and tokens have lower-case letters, so none of them is taken for a name."""
DEFAULT_POINT = "barograph"
DEFAULT_VARIABLE = "ALERTS_WEBHOOK_URL"


class AlertsError(ValueError):
    """Rules, routes or settings of alerts contradict each other; the text says what to change."""


@dataclass(frozen=True, slots=True)
class Integration:
    """One notification channel of a contact point."""

    kind: Kind
    variable: str = ""
    """Environment variable that holds the URL or, for PagerDuty, the integration key."""
    bearer_variable: str = ""
    """Environment variable that holds a bearer token; webhooks only."""

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.variable, self.bearer_variable)))


@dataclass(frozen=True, slots=True)
class Route:
    """The contact points of one route, by severity."""

    page: str
    ticket: str

    def point(self, severity: str) -> str:
        return self.page if severity == "page" else self.ticket


@dataclass(frozen=True, slots=True)
class MuteTiming:
    """Times without notifications: all given conditions must hold."""

    times: tuple[tuple[str, str], ...] = ()
    weekdays: tuple[str, ...] = ()
    days_of_month: tuple[str, ...] = ()
    months: tuple[str, ...] = ()
    timezone: str = "UTC"

    @property
    def interval(self) -> dict[str, Any]:
        """The time interval in the form of Grafana and Alertmanager."""
        interval: dict[str, Any] = {}
        if self.times:
            interval["times"] = [{"start_time": start, "end_time": end} for start, end in self.times]
        for key in ("weekdays", "days_of_month", "months"):
            if getattr(self, key):
                interval[key] = list(getattr(self, key))
        return interval | {"location": self.timezone}


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    contact_points: Mapping[str, tuple[Integration, ...]] = field(
        default_factory=lambda: {DEFAULT_POINT: (Integration("webhook", DEFAULT_VARIABLE),)}
    )
    default: str = DEFAULT_POINT
    """Contact point of models without a route."""
    platform: str = DEFAULT_POINT
    """Contact point of alerts about the pipeline, and of rules that cannot be evaluated."""
    platform_team: str = "platform"
    routes: Mapping[str, Route] = field(default_factory=dict)
    mute_timings: Mapping[str, MuteTiming] = field(default_factory=dict)
    folder: str = "Barograph alerts"
    """Title of the folder of rules. That of dashboards has another (docs/decisions/0046-folders-in-grafana.md)."""
    datasource: str = "barograph"
    """UID of the data source."""
    runbooks: str = "/public/docs/runbooks"
    """Where the site of `make docs` has its runbooks: a URL, or a path in Grafana with a leading slash. With `{rule}`,
    the address of a runbook anywhere else."""
    grafana_url: str = ""
    """Address of Grafana without a trailing slash, for links in messages. If it is empty, Grafana uses its own address,
    and links in other messages are relative."""
    configured: bool = False
    """Whether the settings have the section. Without it every route leads to the default."""

    def missing_variables(self, environ: Mapping[str, str]) -> list[str]:
        """The variables of contact points that an environment does not set."""
        integrations = [each for point in self.contact_points.values() for each in point]
        return sorted({name for each in integrations for name in each.variables if not environ.get(name)})

    def runbook(self, name: str) -> str:
        """The address of the runbook with a file name, or its path in Grafana."""
        address = self.runbooks if "{rule}" in self.runbooks else self.runbooks.rstrip("/") + "/{rule}.html"
        return address.replace("{rule}", name.removesuffix(".md"))

    def route(self, name: str) -> Route:
        """Find the contact points of a route.

        Raises:
            AlertsError: the name is neither a route nor a contact point.
        """
        if not name or (name not in self.routes and name not in self.contact_points and not self.configured):
            return Route(self.default, self.default)
        if name in self.routes:
            return self.routes[name]
        if name in self.contact_points:
            return Route(name, name)
        raise AlertsError(
            f"the route {name!r} is not known here; {nearest(name, [*self.routes, *self.contact_points])}, or write "
            f'[alerts.routes."{name}"] with page and ticket in the settings'
        )


def read_alert_settings(tree: Any, file: str) -> AlertSettings:
    """Read the section `alerts`.

    Args:
        tree: the section as a TOML or YAML parser returns it.

    Raises:
        AlertsError: a key is unknown, a value does not fit, or a contact point is not defined. The text has a line per
            problem.
    """
    try:
        settings: AlertSettings = read_value(AlertSectionKind(), node_of(tree), ("alerts",), file)
    except ContractError as error:
        raise AlertsError(str(error)) from None
    return settings


# --- kinds of values --------------------------------------------------------------------------------------------------


class PatternKind(msgspec.Struct, frozen=True):
    """Text of a given form."""

    pattern: str
    form: str
    """The form in words, with an example."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> str:
        text = NameKind(self.form).read(node, path, diagnostics)
        if not re.fullmatch(self.pattern, text):
            raise Unreadable(f"{quoted(text)} does not fit; write {self.form}")
        return text


class VariableNameKind(msgspec.Struct, frozen=True):
    """The name of an environment variable. The message does not show the value, which may be the secret itself."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> str:
        text = NameKind("the name of an environment variable").read(node, path, diagnostics)
        if not VARIABLE.fullmatch(text):
            raise Unreadable("this is not the name of an environment variable; write one such as SLACK_URL")
        return text


class SecretInFileKind(msgspec.Struct, frozen=True):
    """A URL or key in the file itself: an error that does not show the value. A webhook's path is its password."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> str:
        variable = f"{path[-1]}_variable"
        raise Unreadable(
            f"this may hold a secret and does not belong in a file; set it in the environment and write {variable} "
            "with the name of the environment variable"
        )


class TimesOfDayKind(msgspec.Struct, frozen=True):
    """A range of times within one day, such as `01:00-05:30`."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> tuple[str, str]:
        form = "times of one day such as 01:00-05:30"
        text = PatternKind(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)", form).read(node, path, diagnostics)
        if text[:5] >= text[6:]:
            raise Unreadable(f"{quoted(text)} ends before it starts; write {form}")
        return text[:5], text[6:]


class WeekdaysKind(msgspec.Struct, frozen=True):
    """A weekday, or a range of weekdays such as `monday:friday`."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> str:
        text = NameKind("a weekday").read(node, path, diagnostics)
        for day in text.split(":"):
            if day not in WEEKDAYS:
                raise Unreadable(f"{quoted(day)} is not a weekday; {nearest(day, WEEKDAYS)}")
        return text


class TimeZoneKind(msgspec.Struct, frozen=True):
    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> str:
        text = NameKind("a time zone").read(node, path, diagnostics)
        if text not in zoneinfo.available_timezones():
            raise Unreadable(f"{quoted(text)} is not a time zone; write an IANA name such as Europe/Berlin")
        return text


_RANGES = ListKind(PatternKind(r"-?\d{1,2}(:-?\d{1,2})?", "a number or a range such as 1:7"))
_MUTE_TIMING = RecordKind(
    (
        Key("times", ListKind(TimesOfDayKind()), ""),
        Key("weekdays", ListKind(WeekdaysKind()), ""),
        Key("days_of_month", _RANGES, ""),
        Key("months", _RANGES, ""),
        Key("timezone", TimeZoneKind(), ""),
    )
)
_INTEGRATIONS: dict[Kind, dict[str, str]] = {
    "pagerduty": {"key_variable": "variable"},
    "slack": {"url_variable": "variable"},
    "webhook": {"url_variable": "variable", "bearer_variable": "bearer_variable"},
}
"""Integrations, and the member of `Integration` that each of their keys sets."""


def _integration_kind(members: Iterable[str]) -> RecordKind:
    """Read one integration; the keys that would hold secrets themselves are errors."""
    variables = (Key(name, VariableNameKind(), "") for name in members)
    secrets = (Key(name.removesuffix("_variable"), SecretInFileKind(), "") for name in members)
    return RecordKind((*variables, *secrets))


_CONTACT_POINT = RecordKind(tuple(Key(kind, _integration_kind(members), "") for kind, members in _INTEGRATIONS.items()))
_ROUTE = RecordKind((Key("page", NameKind(), ""), Key("ticket", NameKind(), "")))
_NAMES = ("default", "platform", "platform_team", "folder", "datasource", "runbooks")
_SECTION = RecordKind(
    (
        Key("contact_points", MapKind(_CONTACT_POINT), ""),
        Key("routes", MapKind(_ROUTE), ""),
        Key("mute_timings", MapKind(_MUTE_TIMING), ""),
        *(Key(name, NameKind(), "") for name in _NAMES),
    )
)


class AlertSectionKind(msgspec.Struct, frozen=True):
    """The section `alerts` of the settings file, read as `AlertSettings`."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> AlertSettings:
        n_problems = len(diagnostics.problems)
        values = _SECTION.read(node, path, diagnostics)
        points = self._contact_points(values.get("contact_points", {}), path, diagnostics)
        timings = self._mute_timings(values.get("mute_timings", {}), path, diagnostics)
        if not points and len(diagnostics.problems) == n_problems:
            raise Unreadable("contact_points is missing; write a section such as [alerts.contact_points.NAME.slack]")
        names = {name: values[name] for name in _NAMES if name in values}
        default = names.setdefault("default", next(iter(points), ""))
        names.setdefault("platform", default)
        references: dict[Path, str] = {(name,): names[name] for name in ("default", "platform")}
        routes = {}
        for name, route in values.get("routes", {}).items():
            routes[name] = Route(**{severity: route.get(severity, default) for severity in ("page", "ticket")})
            references |= {("routes", name, severity): point for severity, point in route.items()}
        for keys, point in references.items():
            here = (*path, *keys)
            if point and point not in points and not _has_failed(diagnostics, (*path, "contact_points", point)):
                shown = "that this address should name" if "://" in point else quoted(point)
                message = f"the contact point {shown} is not defined; {nearest(point, points)}"
                diagnostics.fail(here, diagnostics.lines.get(here, 0), message)
        return AlertSettings(contact_points=points, routes=routes, mute_timings=timings, configured=True, **names)

    def _contact_points(
        self, values: Mapping[str, Mapping[Kind, Mapping[str, str]]], path: Path, diagnostics: Diagnostics
    ) -> dict[str, tuple[Integration, ...]]:
        points = {}
        for name, integrations in values.items():
            here = (*path, "contact_points", name)
            if not integrations:
                _fail(
                    diagnostics,
                    here,
                    "the contact point has no integration; write pagerduty, slack or webhook below it",
                )
            for kind, keys in integrations.items():
                if not {"key_variable", "url_variable"} & keys.keys():
                    variable = next(iter(_INTEGRATIONS[kind]))
                    message = f"the address is missing; write {variable} with the variable that holds it"
                    _fail(diagnostics, (*here, kind), message)
            points[name] = tuple(
                Integration(kind, **{_INTEGRATIONS[kind][key]: text for key, text in integrations[kind].items()})
                for kind in _INTEGRATIONS
                if kind in integrations
            )
        return points

    def _mute_timings(
        self, values: Mapping[str, Mapping[str, Any]], path: Path, diagnostics: Diagnostics
    ) -> dict[str, MuteTiming]:
        for name, keys in values.items():
            if not any(keys.get(key) for key in ("times", "weekdays", "days_of_month", "months")):
                message = "the timing would mute forever; write times, weekdays, days_of_month or months"
                _fail(diagnostics, (*path, "mute_timings", name), message)
        return {name: MuteTiming(**keys) for name, keys in values.items()}


def _fail(diagnostics: Diagnostics, path: Path, message: str) -> None:
    """Report a problem of the value at a path, unless it has one already."""
    if not _has_failed(diagnostics, path):
        diagnostics.fail(path, diagnostics.lines.get(path, 0), message)


def _has_failed(diagnostics: Diagnostics, path: Path) -> bool:
    """Whether the value at a path or a part of it has a problem already."""
    return any(failed[: len(path)] == path for failed in diagnostics.failed)
