"""Settings of `barograph run scrape`: which endpoints of inference servers are polled, and how often."""

from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from barograph.contract.kinds import ListKind, NumberKind, TextKind
from barograph.contract.sections import EventValue, Name, SectionKind

from barograph_server.streams.errors import ProcessorError
from barograph_server.warehouse.configuration import HttpUrlKind, Setting

MAX_TARGETS = 64
"""Each target has a thread of its own, so that one that hangs does not delay the others."""
_URL = "http://HOST:PORT/metrics"


class ScrapeTarget(msgspec.Struct, frozen=True):
    """One endpoint, and the model that it serves."""

    model: Annotated[Name, "The model that it serves.", "MODEL"]
    url: Annotated[str, HttpUrlKind(_URL), "The address of its metrics.", _URL]
    labels: Annotated[
        dict[str, EventValue], "Only series with these labels count; for a server of several models."
    ] = {}

    @property
    def secure(self) -> bool:
        return urlsplit(self.url).scheme == "https"

    @property
    def host(self) -> str:
        """The host, without brackets around an address of IPv6."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port, by default that of the scheme."""
        return urlsplit(self.url).port or (443 if self.secure else 80)

    @property
    def address(self) -> str:
        """The URL, with the path `/metrics` if it has none."""
        return self.url if urlsplit(self.url).path else urlsplit(self.url)._replace(path="/metrics").geturl()

    @property
    def instance(self) -> str:
        """Host and port, and the labels if there are any."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        chosen = ",".join(f"{name}={value}" for name, value in self.labels.items())
        return f"{host}:{self.port}" + (f"#{chosen}" if chosen else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrapeSettings:
    """The section `scrape`."""

    targets: Annotated[
        tuple[ScrapeTarget, ...],
        Setting(
            ListKind(SectionKind(ScrapeTarget)),
            "metrics endpoints of inference servers: a list of `{model, url, labels}`; a model may have several; with "
            "`labels`, only series with these labels are read; in the variable as YAML on one line",
            default="none",
        ),
    ] = ()
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

    def checked_targets(self) -> tuple[ScrapeTarget, ...]:
        if not self.targets:
            raise ProcessorError(
                f"scrape.targets is empty: name at least one endpoint, as {{model: MODEL, url: {_URL}}}."
            )
        if len(self.targets) > MAX_TARGETS:
            raise ProcessorError(
                f"scrape.targets has {len(self.targets)} endpoints, and one process polls at most {MAX_TARGETS}. Run "
                "several processes with settings of their own."
            )
        if not all("!" <= character <= "~" for character in self.token):
            raise ProcessorError("scrape.token has characters that no token has; copy it again, without spaces.")
        keys = [(target.model, target.instance) for target in self.targets]
        for key in keys:
            if keys.count(key) > 1:
                raise ProcessorError(f"scrape.targets: {key[1]} is listed twice for the model {key[0]}; remove one.")
        return self.targets
