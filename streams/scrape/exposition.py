"""Text of a metrics endpoint → samples by metric, within limits.

The parser is that of `prometheus_client`. It adds `_total` to counters whose name lacks it, and servers differ, so
that names are without it here (`plain_name`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Literal, NamedTuple

import msgspec
import yaml
from prometheus_client.parser import text_string_to_metric_families

MAX_SAMPLES = 50_000
"""Most samples of one text. vLLM has some 1,500 for one model."""
MAX_LINE_CHARS = 16_384
MAX_LABELS = 64
_NAME = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")


class ExpositionSample(NamedTuple):
    labels: Mapping[str, str]
    value: float


@dataclass(slots=True)
class Exposition:
    samples: dict[str, list[ExpositionSample]] = field(default_factory=lambda: defaultdict(list))
    """Metric → its series, without repetition."""
    names: set[str] = field(default_factory=set)
    """Names of families as in the text, up to `_total`."""
    duplicates: int = 0
    """Series that occurred again; the first occurrence counts."""


def parse_exposition(body: bytes) -> Exposition:
    """Read a text.

    Raises:
        ScrapeError: it is not text of Prometheus, or is beyond the limits.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise _unreadable("it is not UTF-8") from error
    if max(map(len, text.split("\n"))) > MAX_LINE_CHARS:
        raise _unreadable(f"a line is longer than {MAX_LINE_CHARS:,} characters")
    exposition, n = Exposition(), 0
    series: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
    try:
        for family in text_string_to_metric_families(text):
            exposition.names.add(plain_name(family.name))
            for sample in family.samples:
                n += 1
                if n > MAX_SAMPLES:
                    raise _unreadable(f"it has more than {MAX_SAMPLES:,} samples")
                if not _NAME.fullmatch(sample.name) or len(sample.labels) > MAX_LABELS:
                    raise _unreadable("a line is not a sample")
                name = plain_name(sample.name)
                key = name, tuple(sorted(sample.labels.items()))
                if key in series:
                    exposition.duplicates += 1
                    continue
                series.add(key)
                exposition.samples[name].append(ExpositionSample(sample.labels, float(sample.value)))
    except ScrapeError:
        raise
    except Exception as error:
        # The parser raises whatever the text makes its code raise: ValueError, IndexError, KeyError, AttributeError.
        raise _unreadable(f"the parser fails with {type(error).__name__}") from error
    return exposition


def _unreadable(reason: str) -> ScrapeError:
    return ScrapeError(ScrapeOutcome.UNREADABLE, f"The answer is not text of Prometheus: {reason}.")


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
    text = resources.files("barograph_server.streams.scrape").joinpath("servers.yaml").read_text(encoding="utf-8")
    return msgspec.convert(yaml.safe_load(text), ServerTable)


class ScrapeOutcome(StrEnum):
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
