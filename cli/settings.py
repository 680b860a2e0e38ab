"""Settings of the `barograph` command: from a file, the environment and, where neither names servers, a local stack.

Parsed once, frozen, passed on explicitly. An option of the command line wins over the environment, that over the
file. Secrets come from the environment alone, so that no file with settings is a secret.
"""

from __future__ import annotations

import difflib
import os
import socket
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from alerts.settings import AlertsError, AlertSettings, read_alert_settings
from cli.errors import SettingsError
from local.stack import StackAddresses, find_stack
from streams.settings import Clock, ProcessorSettings
from streams.topics import Topics
from warehouse.client import Address

DEFAULT_FILE = "barograph.toml"
PREFIX = "BAROGRAPH_"
CONFIG_VARIABLE = "BAROGRAPH_CONFIG"
Server = Literal["kafka", "clickhouse"]
BOTH: tuple[Server, ...] = ("kafka", "clickhouse")

LONGEST_POLL_S = 10.0
"""Commands promise that processors take up within it what was applied; another baseline holds a minute later."""

OTHER_VARIABLES = frozenset({CONFIG_VARIABLE, "BAROGRAPH_HOME", "BAROGRAPH_CACHE", "BAROGRAPH_PII_KEY"})
"""Variables that are no settings of this module: the file itself, the local stack's folders, the publisher's key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrafanaSettings:
    """Where Grafana is that `apply` deploys to, and how it reads ClickHouse."""

    url: str
    """`https://grafana.example.com`, with the path that Grafana is served under; no slash at its end."""
    token: str = field(default="", repr=False)
    """Of a service account; `plan` and `apply` alone need it."""
    folder: str = ""
    """The title of the folder of dashboards and rules; empty: that of `alerts`."""
    clickhouse_host: str = ""
    """ClickHouse as Grafana reaches it; empty: `clickhouse.host`, and port 0 `clickhouse.port`."""
    clickhouse_port: int = 0
    reader: str = "reader"
    """The user of ClickHouse that Grafana reads as."""
    reader_password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every command is told."""

    bootstrap_servers: str = ""
    """Kafka, as `host:port,…`; empty where none is named."""
    kafka: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Further librdkafka properties: security, sockets. May hold secrets."""
    warehouse: Address = field(default_factory=Address)
    topic_prefix: str = ""
    predictions_partitions: int = 4
    labels_partitions: int = 4
    partials_partitions: int = 4
    instance: str = ""
    """Name of a processor among its kind; the host's name by default."""
    clock: Clock = "live"
    paces: Mapping[str, float] = field(default_factory=dict)
    """Those of `PACES` that are set."""
    metrics_host: str = "127.0.0.1"
    """Where a processor's `/healthz` and `/metrics` listen."""
    metrics_port: int | None = None
    """0: they do not. None: at the port of each kind of processor."""
    alerts: AlertSettings = field(default_factory=AlertSettings)
    """Contact points, routes and mute timings."""
    grafana: GrafanaSettings | None = None
    """None: `apply` deploys to no Grafana."""

    @property
    def topics(self) -> Topics:
        """The names of the topics."""
        return Topics(self.topic_prefix)

    def processor(self, *, instance: str | None = None, clock: Clock | None = None) -> ProcessorSettings:
        """The settings of one processor; what is given here wins."""
        paces: dict[str, Any] = {name: PACES[name](value) for name, value in self.paces.items()}
        return ProcessorSettings(
            instance=instance or self.instance or socket.gethostname(),
            bootstrap_servers=self.bootstrap_servers,
            warehouse=self.warehouse,
            topics=self.topics,
            clock=clock or self.clock,
            kafka=self.kafka,
            metrics_host=self.metrics_host,
            metrics_port=self.metrics_port,
            **paces,
        )


PACES: dict[str, Callable[[float], float]] = {
    "flush_s": float,
    "flush_events": int,
    "flush_panes": int,
    "write_s": float,
    "revise_s": float,
    "score_s": float,
    "registry_poll_s": float,
    "report_s": float,
}
"""Members of `ProcessorSettings` that the section `processors` sets, and their types."""


def load_settings(
    config: Path | None = None,
    *,
    needs: Sequence[Server] = BOTH,
    environ: Mapping[str, str] = os.environ,
    folder: Path | None = None,
    find: Callable[[], StackAddresses | None] = find_stack,
) -> Settings:
    """Read the settings.

    Args:
        config: a TOML or YAML file; by default that of `BAROGRAPH_CONFIG`, else `barograph.toml` in `folder` where
            there is one.
        needs: the servers that must be named.
        environ: the environment.
        folder: the current folder by default.
        find: finds a running local stack, which is asked only where no server is named.

    Raises:
        SettingsError: the file cannot be read, a key is unknown, a value does not fit, a secret stands in the file,
            or a server that is needed is not named.
    """
    values = _from_file(_file(config, environ, folder or Path()))
    values |= _from_environ(environ)
    kafka = {key.removeprefix("kafka."): value for key, value in values.items() if key.startswith("kafka.")}
    if not values.get("bootstrap_servers") and not values.get("clickhouse.host"):
        found = find()
        if found is not None:
            values |= {
                "bootstrap_servers": found.bootstrap_servers,
                "clickhouse.host": found.clickhouse_host,
                "clickhouse.port": found.clickhouse_port,
            }
    for server, key in (("kafka", "bootstrap_servers"), ("clickhouse", "clickhouse.host")):
        if server in needs and not values.get(key):
            name = {"kafka": "Kafka", "clickhouse": "ClickHouse"}[server]
            raise SettingsError(
                f"No {name} is named: set {key} in {DEFAULT_FILE} or {_variable(key)}, or start a local stack in "
                "this folder with `barograph dev`."
            )
    plain = {key: value for key, value in values.items() if "." not in key}
    return Settings(
        warehouse=Address(**_section("clickhouse", values)),
        kafka=kafka,
        paces=_section("processors", values),
        grafana=_grafana(_section("grafana", values)),
        **{f"metrics_{key}": value for key, value in _section("metrics", values).items()},
        **plain,
    )


def _section(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {key.removeprefix(f"{name}."): value for key, value in values.items() if key.startswith(f"{name}.")}


def _grafana(values: Mapping[str, Any]) -> GrafanaSettings | None:
    return GrafanaSettings(**values) if values.get("url") else None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("text")
    return value


def _whole(least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        wanted = f"a whole number from {least} to {most}"
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError(wanted)
        try:
            number = int(value)
        except ValueError:
            raise ValueError(wanted) from None
        if not least <= number <= most:
            raise ValueError(wanted)
        return number

    return read


def _seconds(value: object) -> float:
    wanted = "a number of seconds above 0"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(wanted)
    try:
        number = float(value)
    except ValueError:
        raise ValueError(wanted) from None
    if not 0 < number < 86_400:
        raise ValueError(wanted)
    return number


def _poll_seconds(value: object) -> float:
    number = _seconds(value)
    if number > LONGEST_POLL_S:
        raise ValueError(f"a number of seconds up to {LONGEST_POLL_S:g}")
    return number


def _flag(value: object) -> bool:
    known = {True: True, False: False, "true": True, "false": False, "1": True, "0": False}
    if not isinstance(value, bool | str) or value not in known:
        raise ValueError("true or false")
    return known[value]


def _clock(value: object) -> Clock:
    if value == "live":
        return "live"
    if value == "replay":
        return "replay"
    raise ValueError("live or replay")


def _url(value: object) -> str:
    """An address with a scheme and a host, without a slash at its end; empty text stays empty."""
    text = _text(value).strip().rstrip("/")
    if "@" in text:
        # The value is not shown: it holds a password.
        raise SettingsError(
            f"grafana.url holds a name or a password: write it without, and set {_variable(GRAFANA_TOKEN)} in the "
            "environment to a token of a service account."
        )
    if text and not _is_address(text):
        raise ValueError("an address such as https://grafana.example.com")
    return text


def _is_address(text: str) -> bool:
    try:
        parts, _ = urlsplit(text), urlsplit(text).port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)


def _token(value: object) -> str:
    """What may stand in a header; the line feed at the end of a file of secrets is not part of it."""
    text = _text(value).strip()
    if not all("!" <= character <= "~" for character in text):
        # The value is not shown: it is a secret.
        raise SettingsError(
            f"{_variable(GRAFANA_TOKEN)} holds characters that no token has: copy it once more, without quotes or "
            "spaces."
        )
    return text


def _property(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise ValueError("text, a number, true or false")
    return str(value)


KEYS: dict[str, Callable[[object], Any]] = {
    "bootstrap_servers": _text,
    "topic_prefix": _text,
    "predictions_partitions": _whole(1, 10_000),
    "labels_partitions": _whole(1, 10_000),
    "partials_partitions": _whole(1, 10_000),
    "instance": _text,
    "clock": _clock,
    "clickhouse.host": _text,
    "clickhouse.port": _whole(1, 65_535),
    "clickhouse.database": _text,
    "clickhouse.username": _text,
    "clickhouse.secure": _flag,
    "clickhouse.ca_file": _text,
    "metrics.host": _text,
    "metrics.port": _whole(0, 65_535),
    "grafana.url": _url,
    "grafana.folder": _text,
    "grafana.clickhouse_host": _text,
    "grafana.clickhouse_port": _whole(1, 65_535),
    "grafana.reader": _text,
    "processors.flush_s": _seconds,
    "processors.flush_events": _whole(1, 100_000_000),
    "processors.flush_panes": _whole(1, 1_000_000),
    "processors.write_s": _seconds,
    "processors.revise_s": _seconds,
    "processors.score_s": _seconds,
    "processors.registry_poll_s": _poll_seconds,
    "processors.report_s": _seconds,
}
"""Every key of a file, sections written with a dot, and what reads its value; `kafka` holds any property."""

ALERTS = "alerts"
"""The section that `alerts.settings` reads."""
GRAFANA_TOKEN = "grafana.token"  # noqa: S105 - the name of a key
SECRETS: dict[str, Callable[[object], str]] = {
    "clickhouse.password": _text,
    GRAFANA_TOKEN: _token,
    "grafana.reader_password": _text,
}
"""Keys that the environment alone may hold."""
_SECRET_PARTS = ("password", "passphrase", "secret", "key.pem")
"""A property of librdkafka with one of these in its name is a secret."""


def _variable(key: str) -> str:
    return PREFIX + key.upper().replace(".", "_")


def _file(config: Path | None, environ: Mapping[str, str], folder: Path) -> Path | None:
    if config is not None:
        return config
    if environ.get(CONFIG_VARIABLE):
        return Path(environ[CONFIG_VARIABLE])
    found = folder / DEFAULT_FILE
    return found if found.exists() else None


def _from_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"The settings {path} cannot be read: {reason}.") from error
    values: dict[str, Any] = {}
    tree = dict(_parsed(path, text))
    if ALERTS in tree:
        # Names of contact points and routes are anybody's: this section is read as a tree.
        try:
            values[ALERTS] = read_alert_settings(tree.pop(ALERTS), str(path))
        except AlertsError as error:
            raise SettingsError(str(error)) from None
    for key, value in _flat(tree):
        if key in SECRETS or (key.startswith("kafka.") and any(part in key for part in _SECRET_PARTS)):
            raise SettingsError(
                f"{path}: {key} is a secret and does not belong in a file: set {_variable(key)} in the environment."
            )
        values[key] = _checked(key, value, str(path), KEYS, key)
    return values


def _parsed(path: Path, text: str) -> Mapping[Any, Any]:
    try:
        if path.suffix in (".yaml", ".yml"):
            import yaml

            tree = yaml.safe_load(text) or {}
        else:
            tree = tomllib.loads(text)
    except Exception as error:  # both parsers have their own classes
        raise SettingsError(f"The settings {path} cannot be read: {' '.join(str(error).split())}.") from error
    if not isinstance(tree, Mapping):
        raise SettingsError(f"The settings {path} hold no keys: write lines such as bootstrap_servers: HOST:PORT.")
    return tree


def _flat(tree: Mapping[Any, Any]) -> list[tuple[str, Any]]:
    """Write sections with dots. Properties of Kafka hold dots themselves, which TOML reads as nested tables."""
    pairs: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            pairs += [(f"{key}.{below}", inner) for below, inner in _flat(value)]
        else:
            pairs.append((str(key), value))
    return pairs


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    variables = {_variable(key): key for key in (*KEYS, *SECRETS)}
    values: dict[str, Any] = {}
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name in OTHER_VARIABLES:
            continue
        if name.startswith(f"{PREFIX}KAFKA_"):
            key = "kafka." + name.removeprefix(f"{PREFIX}KAFKA_").lower().replace("_", ".")
        else:
            key = variables.get(name, name)
        values[key] = _checked(key, text, "The environment", {**KEYS, **SECRETS}, name)
    return values


def _checked(key: str, value: object, where: str, readers: Mapping[str, Callable[[object], Any]], name: str) -> Any:
    """Read one value.

    Args:
        key: the key in `readers`.
        value: what was found.
        where: the file, or the environment, for messages.
        readers: what reads the value of each known key.
        name: what the key is called there.
    """
    if key == "kafka.bootstrap.servers":
        raise SettingsError(f"{where}: write bootstrap_servers on its own, not as a property of kafka.")
    if key.startswith("kafka."):
        reader: Callable[[object], Any] = _property
    elif key in readers:
        reader = readers[key]
    else:
        known = [_variable(known) for known in readers] if name.startswith(PREFIX) else list(readers)
        near = difflib.get_close_matches(name, known, 1)
        advice = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)} and properties of kafka."
        raise SettingsError(f"{where}: {name} is no setting; {advice}")
    try:
        return reader(value)
    except ValueError as error:
        raise SettingsError(f"{where}: {name} is {value!r}; write {error}.") from None
