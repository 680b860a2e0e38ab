"""Grafana's HTTP API, with timeouts, bounded retries and readable errors."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

from barograph.publisher.retry_schedule import RetrySchedule
from urllib3 import PoolManager, ProxyManager, Timeout
from urllib3.exceptions import HTTPError

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
            settings: URL and token.
            timeout_s: time limit of one response, in seconds.
            pause_s: nominal delay before the second attempt, in seconds; it doubles with each attempt.

        Raises:
            SettingsError: no token is set.
        """
        if not settings.token:
            raise SettingsError(
                f"grafana.url is set ({settings.url}) but no token: set BAROGRAPH_GRAFANA_TOKEN to a token of a "
                "service account, or set BAROGRAPH_GRAFANA_URL to an empty value to skip Grafana."
            )
        self.url = settings.url
        self.token = settings.token
        self._explainer = Explainer(settings.url, settings.token, timeout_s)
        self._pause_s = pause_s
        timeout = Timeout(connect=min(CONNECT_TIMEOUT_S, timeout_s), read=timeout_s)
        parts = urlsplit(settings.url)
        proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
        self._pool = ProxyManager(proxy, timeout=timeout) if proxy else PoolManager(timeout=timeout)

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
        self._pool.clear()

    def _exchange(
        self,
        action: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", **(headers or {})}
        data = None if body is None else json.dumps(body)
        try:
            # A redirect is not followed, because the request would carry the token.
            answer = self._pool.request(
                method, f"{self.url}/api{path}", body=data, headers=sent, retries=False, redirect=False
            )
        except HTTPError as error:
            raise self._explainer.no_answer(error, action) from None
        try:
            content = json.loads(answer.data) if answer.data else None
        except ValueError:
            content = answer.data.decode(errors="replace")
        if answer.status >= 300:
            # A traceback shows no cause, and so neither the token nor another secret.
            raise self._explainer.refused(answer.status, content, action, _secrets(body or {}))
        if isinstance(content, str):
            raise self._explainer.not_an_api()
        return content


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
