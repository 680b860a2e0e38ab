"""Writes OpenLineage events as JSON, and posts them to a catalogue."""

from __future__ import annotations

import os
from collections.abc import Sequence

from openlineage.client.event_v2 import JobEvent
from openlineage.client.serde import Serde
from openlineage.client.transport.http import HttpConfig, HttpTransport
from requests import RequestException

from barograph_server.errors import CommandError

TOKEN_VARIABLE = "OPENLINEAGE_API_KEY"  # noqa: S105
"""The environment variable with the token of the catalogue; OpenLineage's own client reads it, too."""


def event_line(event: JobEvent) -> str:
    """Write an event as one line of JSON."""
    return Serde.to_json(event)


def post_events(events: Sequence[JobEvent], url: str) -> None:
    """Post events one by one, in their order, to `/api/v1/lineage` of a catalogue."""
    token = os.environ.get(TOKEN_VARIABLE)
    auth = {"auth": {"type": "api_key", "apiKey": token}} if token else {}
    try:
        transport = HttpTransport(HttpConfig.from_dict({"url": url, **auth}))
    except ValueError:
        raise CommandError(f"--send {url} is not a URL: write one such as http://localhost:5000.") from None
    sent = 0
    try:
        for event in events:
            transport.emit(event)
            sent += 1
    except RequestException as error:
        raise CommandError(
            f"The catalogue at {url} did not take event {sent + 1} of {len(events)}: {error}. Check the URL and "
            f"{TOKEN_VARIABLE}, and run the command again: it sends all events again."
        ) from error
    finally:
        transport.close()
