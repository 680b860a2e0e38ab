"""Errors of Grafana, with texts that say what to do and never contain the token."""

from collections.abc import Collection
from dataclasses import dataclass, field

from barograph_server.errors import ApplyError

_CONFLICT = (409, 412)
_TRANSIENT = (429, 502, 503, 504)
"""Status codes of temporary failures, of Grafana or of a proxy in front of it."""
_MAX_SHOWN = 200
"""Characters of Grafana's error message that a text shows at most."""


class GrafanaError(ApplyError):
    """Grafana rejects a request or does not meet the requirements; the text says what to do."""


class GrafanaBusy(GrafanaError):
    """Grafana did not answer or is temporarily unavailable: the request may or may not have succeeded."""


class GrafanaMissing(GrafanaError):
    """The requested object does not exist (404)."""


@dataclass(frozen=True, slots=True)
class Explainer:
    """Converts exceptions of grafana-client and its HTTP library to `GrafanaError`."""

    url: str
    token: str = field(repr=False)
    """Removed from all texts."""
    timeout_s: float

    def explain(self, error: Exception, action: str, secrets: Collection[str] = ()) -> GrafanaError:
        """Convert a `GrafanaException` of grafana-client or a `RequestException` of niquests.

        Args:
            action: the failed action, as it follows "to".
            secrets: the secrets of the request, which are removed from the text.
        """
        from grafana_client.client import GrafanaException, GrafanaTimeoutError
        from niquests.exceptions import ConnectTimeout, JSONDecodeError, TooManyRedirects

        if isinstance(error, TooManyRedirects):
            return GrafanaError(
                f"Grafana at {self.url} redirects to another URL: set grafana.url to that URL, including scheme and "
                "path."
            )
        if isinstance(error, JSONDecodeError):
            return self.not_an_api()
        if isinstance(error, GrafanaTimeoutError) and not isinstance(error.__cause__, ConnectTimeout):
            return GrafanaBusy(
                f"Grafana at {self.url} did not answer within {self.timeout_s:g} s to {action}: check whether it is "
                "overloaded, then run the command again."
            )
        if isinstance(error, GrafanaException) and error.status_code:
            return self._refused(int(error.status_code), _error_text(error.response, {self.token, *secrets}), action)
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

    def _refused(self, status: int, message: str, action: str) -> GrafanaError:
        grafana, what = f"Grafana at {self.url}", f"({status}{': ' + message if message else ''})"
        if status == 401:
            return GrafanaError(
                f"{grafana} rejects the token {what}: create one for a service account with the role Admin "
                "(Administration, Users and access, Service accounts) and set BAROGRAPH_GRAFANA_TOKEN to it."
            )
        if status == 403 and "read-only" in message:
            return GrafanaError(
                f"{grafana} does not allow anyone to {action} {what}, because it is provisioned from a file: remove it "
                "from Grafana's provisioning, or set BAROGRAPH_GRAFANA_URL to an empty value to keep the files."
            )
        if status == 403:
            return GrafanaError(
                f"{grafana} does not allow this token to {action} {what}: grant its service account the role Admin, or "
                "the permissions listed in docs/security.md."
            )
        if status == 404:
            return GrafanaMissing(
                f"{grafana} has no endpoint or object to {action} {what}: check that grafana.url is the URL of "
                "Grafana, including its path."
            )
        if status in _CONFLICT:
            return GrafanaError(
                f"{grafana} refuses to {action} {what}: check Grafana for another object of that name or a concurrent "
                "change, then run `barograph plan`."
            )
        if status in _TRANSIENT:
            return GrafanaBusy(
                f"{grafana} is temporarily unable to {action} {what}: wait until it is healthy, then run the command "
                "again."
            )
        if status >= 500:
            return GrafanaError(
                f"{grafana} failed to {action} {what}: check its log for the reason, then run the command again."
            )
        return GrafanaError(f"{grafana} refuses to {action} {what}.")


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
