"""Grafana over HTTP, by grafana-client: bounded times, bounded retries, errors as sentences.

grafana-client brings an HTTP library of its own (docs/decisions/0019), so it stands in a dependency group of its own
and is imported when a connection is made. What it leaves open is closed here: names go into its paths as they are, an
address without a slash at its end loses its path, a redirect turns a POST into a GET, pages of HTML come back as text,
and refused connections come out as exceptions of the library below it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import quote, urlsplit

from cli.apply.grafana.errors import Explainer, GrafanaBusy, GrafanaMissing
from cli.errors import SettingsError
from cli.settings import GrafanaSettings

CONNECT_TIMEOUT_S = 5.0
TIMEOUT_S = 30.0
"""How long one answer is awaited. Grafana writes a folder of rules in well under a second."""

ATTEMPTS = 3
PAUSE_S = 1.0
"""Between the first attempt and the second; it doubles each time."""


class Grafana:
    """A connection to one Grafana, for one thread.

    `api` is grafana-client's; every call of it goes through `read`, `find` or `write`.
    """

    def __init__(self, api: Any, explainer: Explainer, pause_s: float) -> None:
        """Wrap grafana-client's `GrafanaApi`.

        Args:
            api: the client.
            explainer: turns its errors into sentences.
            pause_s: what is waited before a second attempt, in seconds.
        """
        self.api = api
        self._explainer = explainer
        self._pause_s = pause_s

    @property
    def url(self) -> str:
        """The address, for messages."""
        return self._explainer.url

    @property
    def token(self) -> str:
        """A secret that only this Grafana's owner and we know."""
        return self._explainer.token

    def read(self, action: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Read something that must be there, in up to `ATTEMPTS` attempts.

        Args:
            action: what is done, to stand behind "to".
            call: a function of `api`.
            args: its arguments.
            kwargs: its arguments by name.

        Raises:
            GrafanaBusy: no answer came, or none for now.
            GrafanaError: it is refused, or something else than Grafana answers.
        """
        for attempt in range(1, ATTEMPTS):
            try:
                return self._called(action, call, args, kwargs)
            except GrafanaBusy:
                self.pause(attempt)
        return self._called(action, call, args, kwargs)

    def find(self, action: str, call: Callable[..., Any], *args: Any) -> Any:
        """Read something that may be missing, None then. Errors are those of `read`."""
        try:
            return self.read(action, call, *args)
        except GrafanaMissing:
            return None

    def write(self, action: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Write something, in one attempt: whoever writes looks what became of it before the next.

        Raises:
            GrafanaConflict: it has changed since it was read, or its name is another's.
            GrafanaBusy: no answer came, or none for now; it may have been done.
            GrafanaError: it is refused.
        """
        return self._called(action, call, args, kwargs)

    def pause(self, attempt: int) -> None:
        """Wait after an attempt that failed; the first is 1."""
        time.sleep(self._pause_s * 2 ** (attempt - 1))

    def close(self) -> None:
        """Close the connections."""
        self.api.client.s.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _called(self, action: str, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        from grafana_client.client import GrafanaException
        from niquests.exceptions import RequestException

        try:
            answer = call(*args, **kwargs)
        except (GrafanaException, RequestException) as error:
            # Without its cause, which a traceback would show: an answer may hold the token that was sent.
            raise self._explainer.explain(error, action) from None
        if isinstance(answer, str):
            raise self._explainer.no_api()
        return answer


def connect(settings: GrafanaSettings, *, timeout_s: float = TIMEOUT_S, pause_s: float = PAUSE_S) -> Grafana:
    """Prepare a connection; nothing is sent yet.

    Args:
        settings: address and token.
        timeout_s: how long one answer is awaited, in seconds.
        pause_s: what is waited before a second attempt, in seconds.

    Raises:
        SettingsError: no token is set, or grafana-client is not installed.
    """
    leave_out = "set BAROGRAPH_GRAFANA_URL to nothing to leave Grafana out"
    if not settings.token:
        raise SettingsError(
            f"Grafana is named ({settings.url}) and no token is: set BAROGRAPH_GRAFANA_TOKEN to a token of a service "
            f"account, or {leave_out}."
        )
    try:
        from grafana_client.api import GrafanaApi
    except ImportError as error:
        raise SettingsError(
            f"Grafana is named ({settings.url}) and grafana-client, by which `apply` deploys to it, is not installed "
            f"here: run this in an environment with the dependency group grafana, or {leave_out}."
        ) from error
    parts = urlsplit(settings.url)
    host, path = parts.hostname or "", parts.path.strip("/")
    api = GrafanaApi(
        settings.token,
        protocol=parts.scheme,
        host=f"[{host}]" if ":" in host else host,
        port=parts.port,
        url_path_prefix=f"{path}/" if path else "",
        timeout=(min(CONNECT_TIMEOUT_S, timeout_s), timeout_s),
    )
    # A redirect would be followed with the token, and a POST would go on as a GET.
    api.client.s.max_redirects = 0
    return Grafana(api, Explainer(settings.url, settings.token, timeout_s), pause_s)


def in_path(name: str) -> str:
    """Write a name as one part of a path; grafana-client puts names there as they are."""
    return quote(name, safe="")
