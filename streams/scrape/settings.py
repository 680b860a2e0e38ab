"""Settings of `barograph run scrape`: which endpoints of inference servers are polled, and how often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from barograph.contract.kinds import NumberKind, TextKind

from barograph_server.streams.errors import ProcessorError
from barograph_server.warehouse.configuration import Setting

MAX_TARGETS = 64
"""Each target has a thread of its own, so that one that hangs does not delay the others."""


@dataclass(frozen=True, slots=True)
class ScrapeTarget:
    """One endpoint, and the model that it serves."""

    model: str
    secure: bool
    host: str
    port: int
    path: str
    labels: Mapping[str, str] = field(default_factory=dict)
    """Only series with these labels count; for a server of several models."""

    @property
    def instance(self) -> str:
        """Host and port, and the labels if there are any."""
        chosen = ",".join(f"{name}={value}" for name, value in self.labels.items())
        return self._address + (f"#{chosen}" if chosen else "")

    @property
    def url(self) -> str:
        """The address of its metrics."""
        return f"{'https' if self.secure else 'http'}://{self._address}{self.path}"

    @property
    def _address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrapeSettings:
    """The section `scrape`."""

    targets: Annotated[
        str,
        Setting(
            TextKind(),
            "metrics endpoints of inference servers, with the model that each serves: `MODEL=URL, …`; a model may have "
            "several; `URL#LABEL=VALUE` reads only the series with a label",
            default="empty",
        ),
    ] = ""
    interval_s: Annotated[
        float, Setting(NumberKind(1.0, 3600.0), "seconds between two scrapes of one endpoint, 1 to 3,600")
    ] = 15.0
    timeout_s: Annotated[
        float, Setting(NumberKind(0.1, 60.0), "longest scrape of one endpoint, in seconds, at most 60")
    ] = 5.0
    token: Annotated[
        str,
        Setting(
            TextKind(), "token that endpoints want, sent to all of them as `Authorization: Bearer`", "", is_secret=True
        ),
    ] = field(default="", repr=False)

    def parsed_targets(self) -> tuple[ScrapeTarget, ...]:
        """Return the targets."""
        entries = [entry for entry in map(str.strip, self.targets.split(",")) if entry]
        if not entries:
            raise ProcessorError(
                "scrape.targets is empty: name at least one endpoint, as MODEL=http://HOST:PORT/metrics."
            )
        if len(entries) > MAX_TARGETS:
            raise ProcessorError(
                f"scrape.targets has {len(entries)} endpoints, and one process polls at most {MAX_TARGETS}. Run "
                "several processes with settings of their own."
            )
        if not all("!" <= character <= "~" for character in self.token):
            raise ProcessorError("scrape.token has characters that no token has; copy it again, without spaces.")
        targets = tuple(map(_target, entries))
        keys = [(target.model, target.instance) for target in targets]
        for key in keys:
            if keys.count(key) > 1:
                raise ProcessorError(f"scrape.targets: {key[1]} is listed twice for the model {key[0]}; remove one.")
        return targets


def _target(entry: str) -> ScrapeTarget:
    model, equals, url = map(str.strip, entry.partition("="))
    # The entry may hold a password, so that no message shows more than the model.
    what = f"scrape.targets: the entry of {model!r}"
    if not (model and equals and url) or "/" in model:
        raise ProcessorError("scrape.targets: an entry is not MODEL=URL; write commas between entries.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ProcessorError(f"{what} has no valid address: {error}. Write http://HOST:PORT/metrics.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ProcessorError(f"{what} has no address of http or https. Write http://HOST:PORT/metrics.")
    if "@" in parts.netloc:
        raise ProcessorError(
            f"{what} holds a user name or a password. Remove them, and set BAROGRAPH_SCRAPE_TOKEN for a bearer token."
        )
    labels = dict(parse_qsl(parts.fragment))
    if parts.fragment and not labels:
        raise ProcessorError(f"{what} selects no label after #. Write #LABEL=VALUE.")
    path = (parts.path or "/metrics") + (f"?{parts.query}" if parts.query else "")
    if not all("!" <= character <= "~" for character in path + parts.hostname):
        raise ProcessorError(f"{what} has characters that an address cannot have. Encode them as %XX.")
    secure = parts.scheme == "https"
    return ScrapeTarget(model, secure, parts.hostname, port or (443 if secure else 80), path, labels)
