"""Errors of Grafana, with texts that say what to do and never contain the token."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from urllib3.exceptions import HTTPError, ReadTimeoutError

from barograph_server.errors import ApplyError

_MAX_SHOWN = 200
"""Characters of Grafana's error message that a text shows at most."""


class GrafanaError(ApplyError):
    """Grafana rejects a request or does not meet the requirements; the text says what to do."""


class GrafanaBusy(GrafanaError):
    """Grafana did not answer or is temporarily unavailable: the request may or may not have succeeded."""


class GrafanaMissing(GrafanaError):
    """The requested object does not exist (404)."""


_CONFLICT = (
    "refuses to {action} {what}: check Grafana for another object of that name or a concurrent change, then run "
    "`barograph plan`."
)
_UNAVAILABLE = "is temporarily unable to {action} {what}: wait until it is healthy, then run the command again."
_REFUSALS: dict[int, str] = {
    401: (
        "rejects the token {what}: create one for a service account with the role Admin (Administration, Users and "
        "access, Service accounts) and set BAROGRAPH_GRAFANA_TOKEN to it."
    ),
    403: (
        "does not allow this token to {action} {what}: grant its service account the role Admin, or the permissions "
        "listed in docs/security.md."
    ),
    404: (
        "has no endpoint or object to {action} {what}: check that grafana.url is the URL of Grafana, including its "
        "path."
    ),
    **dict.fromkeys((409, 412), _CONFLICT),
    **dict.fromkeys((429, 502, 503, 504), _UNAVAILABLE),
}
_PROVISIONED = (
    "does not allow anyone to {action} {what}, because it is provisioned from a file: remove it from Grafana's "
    "provisioning, or set BAROGRAPH_GRAFANA_URL to an empty value to keep the files."
)
_FAILED = "failed to {action} {what}: check its log for the reason, then run the command again."


@dataclass(frozen=True, slots=True)
class Explainer:
    """Describes the failed exchanges with one Grafana; `action` is what failed, as it follows "to"."""

    url: str
    token: str = field(repr=False)
    """Removed from all texts."""
    timeout_s: float

    def no_answer(self, error: HTTPError, action: str) -> GrafanaError:
        """Return the error for an exchange without an answer."""
        if isinstance(error, ReadTimeoutError):
            return GrafanaBusy(
                f"Grafana at {self.url} did not answer within {self.timeout_s:g} s to {action}: check whether it is "
                "overloaded, then run the command again."
            )
        return GrafanaBusy(
            f"Grafana at {self.url} could not be reached to {action} ({_root_cause(error)}): check grafana.url and "
            "that Grafana is running. To apply everything else without it, set BAROGRAPH_GRAFANA_URL to an empty "
            "value."
        )

    def not_an_api(self) -> GrafanaError:
        """Return the error for a server that does not answer with Grafana's JSON."""
        return GrafanaError(
            f"The server at {self.url} returns a web page instead of Grafana's API: set grafana.url to the URL of "
            "Grafana, including its path."
        )

    def refused(self, status: int, answer: object, action: str, secrets: Collection[str]) -> GrafanaError:
        """Return the error for an answer that is not a success; `secrets` of the request are removed from its text."""
        if status < 400:
            return GrafanaError(
                f"Grafana at {self.url} redirects to another URL: set grafana.url to that URL, including scheme and "
                "path."
            )
        message = _error_text(answer, {self.token, *secrets})
        text = _REFUSALS.get(status, _FAILED if status >= 500 else "refuses to {action} {what}.")
        if status == 403 and "read-only" in message:
            text = _PROVISIONED
        what = f"({status}{': ' + message if message else ''})"
        kind = GrafanaMissing if status == 404 else GrafanaBusy if text is _UNAVAILABLE else GrafanaError
        return kind(f"Grafana at {self.url} {text.format(action=action, what=what)}")


def _error_text(response: object, secrets: Collection[str]) -> str:
    """Grafana's error message: one line, truncated, without secrets."""
    message = response.get("message", "") if isinstance(response, dict) else response
    text = " ".join(str(message or "").split()).rstrip(".")
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "…")
    if text.startswith("<"):
        return "an HTML page"
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"


def _root_cause(error: BaseException) -> str:
    """The operating system's reason for a failed connection, from the innermost exception."""
    words, current = type(error).__name__, error.__context__
    while current is not None:
        if isinstance(current, OSError) and (current.strerror or current.args):
            words = current.strerror or str(current.args[-1])
        current = current.__context__
    return " ".join(words.split())
