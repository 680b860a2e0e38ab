"""Settings of the `barograph` command: from a file, the environment and, if neither names a server, the local stack.

Settings are parsed once, frozen and passed explicitly. A command-line option overrides the environment, which overrides
the file. Secrets come from the environment only, so a settings file never holds one.

Each setting is declared once, by the annotation of a dataclass field here, in `warehouse.client.Address` or in
`streams.settings`. The keys of the file, the variables of the environment and the table in
docs/commands.md are derived from these annotations.
"""

import difflib
import os
import socket
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from barograph.contract import kinds
from barograph.contract.kinds import (
    Diagnostics,
    FlagKind,
    IntegerKind,
    Key,
    ListKind,
    RecordKind,
    TextKind,
    Unreadable,
    ValueKind,
)
from barograph.contract.problems import ContractError, quoted
from barograph.contract.sections import NamedKind
from barograph.contract.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode
from barograph.contract.yaml_tree import read_tree

from barograph_server.alerts.settings import AlertSectionKind, AlertSettings
from barograph_server.errors import SettingsError
from barograph_server.local.stack import StackAddresses, find_stack
from barograph_server.streams.broker.properties import may_hold_secret
from barograph_server.streams.evaluator.settings import EvaluatorSettings
from barograph_server.streams.otlp.settings import OtlpSettings
from barograph_server.streams.scrape.settings import ScrapeSettings
from barograph_server.streams.settings import Clock, ProcessorSettings, SharedSettings
from barograph_server.streams.topics import Topics
from barograph_server.warehouse.client import Address
from barograph_server.warehouse.configuration import Setting, defaults_of, node_of, read_value, record_of, settings_of

DEFAULT_FILE = "barograph.toml"
PREFIX = "BAROGRAPH_"
CONFIG_VARIABLE = "BAROGRAPH_CONFIG"
Server = Literal["kafka", "clickhouse"]
BOTH: tuple[Server, ...] = ("kafka", "clickhouse")

CHANGES_TOKEN_VARIABLE = "BAROGRAPH_CHANGES_TOKEN"  # noqa: S105 - a name, no secret
EMBEDDINGS_KEY_VARIABLE = "BAROGRAPH_EMBEDDINGS_KEY"
OTHER_VARIABLES = {
    CONFIG_VARIABLE: "the settings file, if no `--config` names one",
    "BAROGRAPH_HOME": "folder of the local stack, in which commands and the publisher find its addresses",
    "BAROGRAPH_CACHE": "folder of what the local stack downloads",
    "BAROGRAPH_PII_KEY": "[key of hashed fields](security.md#personal-data)",
    "BAROGRAPH_PII_PREVIOUS_KEY": "the key before its last [rotation](security.md#key-rotation)",
    "BAROGRAPH_STATE_DIR": "[state folder](events.md#when-a-serving-process-ends) of serving processes",
    CHANGES_TOKEN_VARIABLE: "token that requests to `barograph changes serve` send",
    EMBEDDINGS_KEY_VARIABLE: "key of the `--endpoint` of `barograph codebook`",
}
"""Every variable that is not a setting, with its meaning: commands, the publisher and the local stack read it.
docs/commands.md lists them after the settings; every command accepts them."""

_PARTITIONS = IntegerKind(1, 10_000)


class GrafanaUrlKind(TextKind, frozen=True):
    """An `http` or `https` address without credentials, read without its trailing slash; empty means none."""

    def read(self, node: Node, path: kinds.Path, diagnostics: Diagnostics) -> str:
        text = TextKind.read(self, node, path, diagnostics).strip().rstrip("/")
        if "@" in text:
            # The message does not show the value, which holds a password.
            raise Unreadable(
                f"the address holds a user name or a password; remove them, and set {variable_of('grafana.token')} to "
                "the token of a service account"
            )
        if text and not _is_http_address(text):
            raise Unreadable(f"{quoted(text)} is not an address; write one such as https://grafana.example.com")
        return text


class TokenKind(TextKind, frozen=True):
    """A token that fits into an HTTP header; surrounding white space, such as a final line feed, is dropped."""

    def read(self, node: Node, path: kinds.Path, diagnostics: Diagnostics) -> str:
        text = TextKind.read(self, node, path, diagnostics).strip()
        if not all("!" <= character <= "~" for character in text):
            # The message does not show the value, which is a secret.
            raise Unreadable(
                "the value has characters that no token has; copy the token again, without quotes or spaces"
            )
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class GrafanaSettings:
    """The Grafana that `apply` deploys to, and how that Grafana reads ClickHouse."""

    url: Annotated[
        str,
        Setting(
            GrafanaUrlKind(),
            "the Grafana that `apply` deploys to and alerts link to, with its path; empty for none",
            default="empty",
        ),
    ]
    """`https://grafana.example.com`, with the path that serves Grafana, without a trailing slash."""
    token: Annotated[
        str,
        Setting(
            TokenKind(),
            "token of a service account; [its privileges](security.md#privileges-in-grafana)",
            default="",
            is_secret=True,
        ),
    ] = field(default="", repr=False)
    """Only `plan`, `apply` and `doctor` need it."""
    folder: Annotated[str, Setting(TextKind(), "title of the folder of dashboards; rules have that of `alerts`")] = (
        "Barograph"
    )
    clickhouse_host: Annotated[
        str, Setting(TextKind(), "host of ClickHouse as Grafana reaches it", default="that of `clickhouse`")
    ] = ""
    clickhouse_port: Annotated[
        int, Setting(IntegerKind(1, 65_535), "port of its HTTP interface", default="that of `clickhouse`")
    ] = 0
    reader: Annotated[str, Setting(TextKind(), "ClickHouse user that Grafana connects as")] = "grafana"
    reader_password: Annotated[str, Setting(TextKind(), "that user's password", is_secret=True)] = field(
        default="", repr=False
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(SharedSettings):
    topic_prefix: Annotated[str, Setting(TextKind(), "prefix of the names of all topics and consumer groups")] = ""
    predictions_partitions: Annotated[
        int, Setting(_PARTITIONS, "partitions of `predictions`; if you raise it, `apply` adds partitions")
    ] = 4
    labels_partitions: Annotated[
        int, Setting(_PARTITIONS, "partitions of `labels`; only used when `apply` creates the topic")
    ] = 4
    partials_partitions: Annotated[
        int, Setting(_PARTITIONS, "partitions of `partials`, fixed by the first `apply`; limits the number of monitors")
    ] = 4
    instance: Annotated[
        str, Setting(TextKind(), "name of a processor, unique among processors of its kind", default="the host's name")
    ] = ""
    processor_overrides: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `ProcessorSettings` that the sections `processors` and `metrics` set."""
    alerts: AlertSettings = field(default_factory=AlertSettings)
    otlp: OtlpSettings = field(default_factory=OtlpSettings)
    scrape: ScrapeSettings = field(default_factory=ScrapeSettings)
    evaluator: EvaluatorSettings = field(default_factory=EvaluatorSettings)
    grafana: GrafanaSettings | None = None
    """None: `apply` deploys to no Grafana."""

    @property
    def topics(self) -> Topics:
        return Topics(self.topic_prefix)

    def processor(self, *, instance: str | None = None, clock: Clock | None = None) -> ProcessorSettings:
        """Make the settings of one processor; the arguments override the settings."""
        shared = {each.name: getattr(self, each.name) for each in fields(SharedSettings)}
        shared |= {"clock": clock or self.clock, **self.processor_overrides}
        return ProcessorSettings(
            instance=instance or self.instance or socket.gethostname(), topics=self.topics, **shared
        )


@dataclass(frozen=True, slots=True)
class SettingKey:
    """One key of the settings file, its variable and its default."""

    name: str
    """With its section: `clickhouse.host`."""
    setting: Setting
    default: Any

    @property
    def variable(self) -> str:
        return variable_of(self.name)


def variable_of(key: str) -> str:
    """Make the name of the environment variable for a key: `clickhouse.host` → `BAROGRAPH_CLICKHOUSE_HOST`."""
    return PREFIX + key.upper().replace(".", "_")


def _keys_of(owner: type, section: str, *, prefix: str = "", without: str = "") -> Iterator[SettingKey]:
    """Derive a section's keys from the fields of a dataclass: those with `prefix`, or those without `without`."""
    defaults = defaults_of(owner)
    for name, setting in settings_of(owner).items():
        if name.startswith(prefix) and not (without and name.startswith(without)):
            yield SettingKey(f"{section}{name.removeprefix(prefix)}", setting, defaults[name])


_METRICS = "metrics_"
KEYS: dict[str, SettingKey] = {
    key.name: key
    for key in (
        *_keys_of(SharedSettings, ""),
        *_keys_of(Settings, ""),
        *_keys_of(Address, "clickhouse."),
        *_keys_of(GrafanaSettings, "grafana."),
        *_keys_of(OtlpSettings, "otlp."),
        *_keys_of(ScrapeSettings, "scrape."),
        *_keys_of(EvaluatorSettings, "evaluator."),
        *_keys_of(ProcessorSettings, "metrics.", prefix=_METRICS),
        *_keys_of(ProcessorSettings, "processors.", without=_METRICS),
    )
}
"""Every setting but the properties of `kafka` and the section `alerts`."""


SettingsOrPath = Settings | str | Path | None
"""Settings, or the path of their file; None: the file that `load_settings` reads by default."""


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
        config: a TOML or YAML file; by default the file that `BAROGRAPH_CONFIG` names, else `barograph.toml` in
            `folder` if it exists.
        folder: by default the current folder.
        find: finds a running local stack; called only if no server is configured.

    Raises:
        SettingsError: the file cannot be read, a key is unknown, a value does not fit, the file holds a secret, or a
            server in `needs` is not configured.
    """
    try:
        sections = _read_file(_settings_file(config, environ, folder or Path()))
        _read_environ(environ, sections)
    except ContractError as error:
        raise SettingsError(str(error)) from None
    clickhouse = sections.setdefault("clickhouse", {})
    if not sections.get("bootstrap_servers") and not clickhouse.get("host"):
        stack = find()
        if stack is not None:
            sections["bootstrap_servers"] = stack.bootstrap_servers
            address = stack.clickhouse("")
            clickhouse |= {name: getattr(address, name) for name in ("host", "port", "username", "password")}
            if grafana := sections.get("grafana"):
                reader = stack.clickhouse_reader("")
                grafana |= {"reader": reader.username, "reader_password": reader.password}
    addresses: dict[Server, tuple[str, str, Any]] = {
        "kafka": ("Kafka", "bootstrap_servers", sections.get("bootstrap_servers")),
        "clickhouse": ("ClickHouse", "clickhouse.host", clickhouse.get("host")),
    }
    for server in needs:
        name, key, address = addresses[server]
        if not address:
            raise SettingsError(
                f"No {name} is configured: set {key} in {DEFAULT_FILE} or {variable_of(key)}, or start `barograph dev` "
                "in another terminal in this folder, and wait until it prints `Ready`."
            )
    grafana = sections.pop("grafana", {})
    if grafana.get("url"):
        sections["alerts"] = replace(sections.get("alerts", AlertSettings()), grafana_url=grafana["url"])
    metrics = {f"{_METRICS}{name}": value for name, value in sections.pop("metrics", {}).items()}
    return Settings(
        warehouse=Address(**sections.pop("clickhouse")),
        otlp=OtlpSettings(**sections.pop("otlp", {})),
        scrape=ScrapeSettings(**sections.pop("scrape", {})),
        evaluator=EvaluatorSettings(**sections.pop("evaluator", {})),
        grafana=GrafanaSettings(**grafana) if grafana.get("url") else None,
        processor_overrides={**sections.pop("processors", {}), **metrics},
        **sections,
    )


def open_settings(settings: SettingsOrPath, *, needs: Sequence[Server] = BOTH) -> Settings:
    """Return settings, or read them from a file with `load_settings`."""
    if isinstance(settings, Settings):
        return settings
    return load_settings(Path(settings) if isinstance(settings, str) else settings, needs=needs)


def _is_http_address(text: str) -> bool:
    try:
        parts, _ = urlsplit(text), urlsplit(text).port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)


# --- the file ---------------------------------------------------------------------------------------------------------


class _SecretKind(msgspec.Struct, frozen=True):
    """A key that only the environment may hold."""

    variable: str

    def read(self, node: Node, path: kinds.Path, diagnostics: Diagnostics) -> str:
        raise Unreadable(f"this is a secret and does not belong in a file; set {self.variable} in the environment")


class _KafkaPropertiesKind(msgspec.Struct, frozen=True):
    """Properties of librdkafka. Their names hold dots, which TOML reads as nested tables."""

    def read(self, node: Node, path: kinds.Path, diagnostics: Diagnostics) -> dict[str, str]:
        return dict(self._properties(node, path, diagnostics))

    def _properties(self, node: Node, path: kinds.Path, diagnostics: Diagnostics) -> Iterator[tuple[str, str]]:
        for key, value in kinds.named_pairs(node, path, diagnostics):
            here = (*path, key.text)
            name = ".".join(map(str, here[1:]))
            if isinstance(value, MappingNode):
                yield from self._properties(value, here, diagnostics)
            elif isinstance(value, SequenceNode):
                diagnostics.fail(here, value.line, "write text, a number, true or false")
            elif may_hold_secret(name.lower(), value.text):
                variable = variable_of(f"kafka.{name}")
                message = f"this may hold a secret and does not belong in a file; set {variable} in the environment"
                diagnostics.fail(here, value.line, message)
            elif name == _BOOTSTRAP:
                diagnostics.fail(here, value.line, "write bootstrap_servers at the top of the file instead")
            else:
                yield name, value.text


_BOOTSTRAP = "bootstrap.servers"


def _file_record() -> RecordKind:
    sections: dict[str, dict[str, Setting]] = {}
    for key in KEYS.values():
        section, _, name = key.name.rpartition(".")
        setting = Setting(_SecretKind(key.variable), "") if key.setting.is_secret else key.setting
        sections.setdefault(section, {})[name] = setting
    top = record_of(sections.pop("")).keys
    return RecordKind(
        (
            *top,
            *(Key(name, record_of(settings), "") for name, settings in sections.items()),
            Key("kafka", _KafkaPropertiesKind(), "properties of librdkafka"),
            Key("alerts", AlertSectionKind(), "contact points, routes and mute timings"),
        )
    )


def _settings_file(config: Path | None, environ: Mapping[str, str], folder: Path) -> Path | None:
    if config is not None:
        return config
    if environ.get(CONFIG_VARIABLE):
        return Path(environ[CONFIG_VARIABLE])
    default = folder / DEFAULT_FILE
    return default if default.exists() else None


def _read_file(path: Path | None) -> dict[str, Any]:
    """Read the values of a file, by key and, within sections, by the section's keys."""
    if path is None:
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        tree = read_tree(text, str(path)) if path.suffix in (".yaml", ".yml") else node_of(tomllib.loads(text))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        reason = error.strerror or reason if isinstance(error, OSError) else reason
        raise SettingsError(f"The settings file {path} cannot be read: {' '.join(reason.split())}.") from error
    if isinstance(tree, ScalarNode) and tree.is_null:
        return {}
    if not isinstance(tree, MappingNode):
        raise SettingsError(f"The settings file {path} has no keys: write lines such as bootstrap_servers: HOST:PORT.")
    values: dict[str, Any] = read_value(_file_record(), tree, (), str(path))
    return values


# --- the environment --------------------------------------------------------------------------------------------------


def _read_environ(environ: Mapping[str, str], sections: dict[str, Any]) -> None:
    """Override the values in `sections` by the variables of the environment."""
    points = sections.get("alerts", AlertSettings()).contact_points.values()
    others = {*OTHER_VARIABLES, *(name for point in points for each in point for name in each.variables)}
    keys = {key.variable: key for key in KEYS.values()}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable in others:
            continue
        if variable.startswith(f"{PREFIX}KAFKA_"):
            name = variable.removeprefix(f"{PREFIX}KAFKA_").lower().replace("_", ".")
            if name == _BOOTSTRAP:
                raise SettingsError(f"Set {variable_of('bootstrap_servers')} instead of {variable}.")
            if name.endswith(".url") and "@" in text:
                # librdkafka logs the address.
                raise SettingsError(
                    f"The address in {variable} holds a user name or a password; remove them, and set "
                    f"{variable_of('kafka.sasl.oauthbearer.client.id')} and "
                    f"{variable_of('kafka.sasl.oauthbearer.client.secret')}."
                )
            sections.setdefault("kafka", {})[name] = text
            continue
        if variable not in keys:
            known = [*keys, *sorted(others)]
            close = difflib.get_close_matches(variable, known, 1)
            hint = f"did you mean {close[0]}?" if close else f"write one of {', '.join(known)} or {PREFIX}KAFKA_…"
            raise SettingsError(f"The environment variable {variable} is not a setting; {hint}")
        key = keys[variable]
        section, _, name = key.name.rpartition(".")
        value = read_value(key.setting.kind, _environ_node(key.setting.kind, text), (variable,), "environment")
        (sections.setdefault(section, {}) if section else sections)[name] = value


def _environ_node(kind: ValueKind, text: str) -> Node:
    """Make a node of a variable's text; `1` and `0` are flags too. Only text can be empty. Lists and maps are YAML."""
    if isinstance(kind, ListKind | NamedKind):
        return read_tree(text or ("[]" if isinstance(kind, ListKind) else "{}"), "environment")
    if isinstance(kind, FlagKind):
        text = {"1": "true", "0": "false"}.get(text, text)
    node = ScalarNode(text, True, 0)
    return ScalarNode(text, False, 0) if node.is_null else node
