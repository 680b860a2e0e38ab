"""Grafana's HTTP API through grafana-client, with timeouts, bounded retries and readable errors.

grafana-client depends on an HTTP library of its own (docs/decisions/0019), so it has its own dependency group and is
imported only when a connection is made. This module works around its gaps: it inserts names into paths unescaped,
drops the path of a URL without a trailing slash, turns a POST into a GET on a redirect, returns HTML pages as text, and
raises exceptions of its HTTP library when a connection is refused.
"""

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

from barograph.publisher.retry_schedule import RetrySchedule

from barograph_server.errors import SettingsError
from barograph_server.grafana.errors import Explainer, GrafanaBusy, GrafanaMissing
from barograph_server.settings import GrafanaSettings

CONNECT_TIMEOUT_S = 5.0
TIMEOUT_S = 30.0
"""Time limit of one response, in seconds. Grafana writes a folder of rules in well under a second."""

ATTEMPTS = 3
_SECRET_SETTINGS = frozenset({"url", "token", "integrationKey", "password", "authorization_credentials"})
"""Settings of contact points that are secrets: the path of a webhook's URL is often its password."""
_SHORTEST_PART = 8
"""Characters of a part of a URL that is treated as a secret of its own."""
PAUSE_S = 1.0


class Grafana:
    """A connection to one Grafana, for use in one thread.

    `action` in its methods is the action for error messages, as it follows "to"; paths are those below `/api`.
    """

    def __init__(self, settings: GrafanaSettings, *, timeout_s: float = TIMEOUT_S, pause_s: float = PAUSE_S) -> None:
        """Prepare a connection; no request is sent yet.

        Args:
            pause_s: nominal delay before the second attempt, in seconds; it doubles with each attempt.

        Raises:
            SettingsError: no token is set, or grafana-client is not installed.
        """
        skip = "set BAROGRAPH_GRAFANA_URL to an empty value to skip Grafana"
        if not settings.token:
            raise SettingsError(
                f"grafana.url is set ({settings.url}) but no token: set BAROGRAPH_GRAFANA_TOKEN to a token of a "
                f"service account, or {skip}."
            )
        try:
            from grafana_client.api import GrafanaApi
        except ImportError as error:
            raise SettingsError(
                f"grafana.url is set ({settings.url}) but grafana-client is not installed here: run the command in an "
                f"environment with the dependency group grafana, or {skip}."
            ) from error
        parts = urlsplit(settings.url)
        host, path = parts.hostname or "", parts.path.strip("/")
        self.url = settings.url
        self.token = settings.token
        self._explainer = Explainer(settings.url, settings.token, timeout_s)
        self._pause_s = pause_s
        self._client = GrafanaApi(
            settings.token,
            protocol=parts.scheme,
            host=f"[{host}]" if ":" in host else host,
            port=parts.port,
            url_path_prefix=f"{path}/" if path else "",
            timeout=(min(CONNECT_TIMEOUT_S, timeout_s), timeout_s),
        ).client
        # The client would send the token to the redirect's target and turn a POST into a GET.
        self._client.s.max_redirects = 0

    def read(self, action: str, path: str, query: Mapping[str, Any] | None = None, *, method: str = "GET") -> Any:
        """Read an object that must exist, in up to `ATTEMPTS` attempts.

        Raises:
            GrafanaBusy: Grafana did not answer or is temporarily unavailable.
            GrafanaError: Grafana rejects the request, or the server is not Grafana.
        """
        if query:
            path += f"?{urlencode(query, doseq=True)}"
        for is_last in self.attempts():
            try:
                return self._exchange(action, method, path)
            except GrafanaBusy:
                if is_last:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def find(self, action: str, path: str, *, method: str = "GET") -> Any:
        """Read or delete an object that may be missing; return None if it is. Errors are those of `read`."""
        try:
            return self.read(action, path, method=method)
        except GrafanaMissing:
            return None

    def write(
        self, action: str, method: str, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        """Write an object in one attempt; the caller must read the object before it retries.

        Raises:
            GrafanaBusy: Grafana did not answer or is temporarily unavailable; the write may have succeeded.
            GrafanaError: Grafana rejects the write, for example because the object has changed since it was read.
        """
        self._exchange(action, method, path, body, headers)

    def attempts(self) -> Iterator[bool]:
        """Yield for each of `ATTEMPTS` attempts, with a delay before all but the first, whether it is the last."""
        schedule = RetrySchedule(self._pause_s, self._pause_s * 2**ATTEMPTS)
        for remaining in reversed(range(ATTEMPTS)):
            yield remaining == 0
            time.sleep(schedule.record_failure())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.s.close()

    def _exchange(
        self,
        action: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        from grafana_client.client import GrafanaException
        from niquests.exceptions import RequestException

        try:
            answer = getattr(self._client, method)(path, json=body, headers=headers, accept_empty_json=True)
        except (GrafanaException, RequestException) as error:
            # The cause is suppressed: a response in a traceback may contain the token.
            raise self._explainer.explain(error, action, _secrets(body or {})) from None
        if answer and isinstance(answer, str):
            raise self._explainer.not_an_api()
        return None if answer == "" else answer


def _secrets(body: Mapping[str, Any]) -> set[str]:
    """The secrets in the body of a request, with the parts of URLs: Grafana's error may quote any of them."""
    values = {
        value
        for section in ("settings", "secureJsonData")
        for key, value in (body.get(section) or {}).items()
        if isinstance(value, str) and (section == "secureJsonData" or key in _SECRET_SETTINGS)
    }
    parts = {part for value in values for part in re.split(r"[/?&=#]", value) if len(part) >= _SHORTEST_PART}
    return {text for text in values | parts if text}


def escape_segment(name: str) -> str:
    """Escape a name as one segment of a URL path."""
    return quote(name, safe="")
