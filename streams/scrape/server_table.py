"""The table of metric names (`servers.yaml`): which metric of which inference server carries which fact."""

from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Literal

import msgspec
import yaml

FactKind = Literal["gauge", "counter", "histogram", "ratio"]
FactUnit = Literal["requests", "tokens", "ms", "share"]


class FactDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fact: its unit, and how several series of a gauge become one number."""

    unit: FactUnit
    combine: Literal["sum", "max"] = "sum"


class ServerMetric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The metrics of a server that carry one fact."""

    fact: str
    kind: FactKind
    name: str | tuple[str, ...]
    of: str | tuple[str, ...] = ()
    labels: dict[str, str] = {}
    by: str = ""
    scale: float = 1.0

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics that are added, as `exposition` names them."""
        names = (self.name,) if isinstance(self.name, str) else self.name
        return names if self.kind == "histogram" else tuple(map(plain_name, names))

    @property
    def denominators(self) -> tuple[str, ...]:
        """The counters by whose sum a ratio is divided, as `exposition` names them."""
        return tuple(map(plain_name, (self.of,) if isinstance(self.of, str) else self.of))


class ServerKind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The metrics of one kind of inference server."""

    prefix: str
    source: str
    metrics: tuple[ServerMetric, ...]
    is_observed: bool = False
    """Whether a text of a running server was seen; otherwise the names come from documentation and source text."""


class ServerTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole table."""

    facts: dict[str, FactDefinition]
    servers: dict[str, ServerKind]


def plain_name(name: str) -> str:
    """Return a metric's name without `_total`, which parsers and servers add to counters or leave out."""
    return name.removesuffix("_total")


@cache
def load_server_table() -> ServerTable:
    """Read the table that is part of the package."""
    text = resources.files("barograph_server.streams.scrape").joinpath("servers.yaml").read_text(encoding="utf-8")
    return msgspec.convert(yaml.safe_load(text), ServerTable)


class ScrapeOutcome(StrEnum):
    """What became of a scrape."""

    READ = "read"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    BAD_STATUS = "bad-status"
    REDIRECTED = "redirected"
    TOO_LARGE = "too-large"
    UNREADABLE = "unreadable"
    UNKNOWN_SERVER = "unknown-server"


class ScrapeError(Exception):
    """A scrape that returned no facts; the text says why and what to do, and holds nothing of the answer."""

    def __init__(self, outcome: ScrapeOutcome, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome
