"""What goes wrong with Grafana, as sentences that say what to do; the token is in none of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from cli.errors import ApplyError

_CONFLICTS = (409, 412)
_PASSING = (429, 502, 503, 504)
"""Answers of a server, or of a proxy before it, that may be others soon."""
_SHOWN = 200
"""Characters of Grafana's own words that a sentence shows."""


class GrafanaError(ApplyError):
    """Grafana refuses, or is not as it must be; the text says what to do."""


class GrafanaBusy(GrafanaError):
    """Grafana did not answer, or not now: what was asked may or may not have been done."""


class GrafanaConflict(GrafanaError):
    """What is written has changed meanwhile, or its name is another's."""


class GrafanaMissing(GrafanaError):
    """What was asked for is not there (404)."""


@dataclass(frozen=True, slots=True)
class Explainer:
    """Turns errors of grafana-client, and of what it is built on, into ours."""

    url: str
    token: str = field(repr=False)
    """Kept out of every text."""
    timeout_s: float

    def explain(self, error: Exception, action: str) -> GrafanaError:
        """Say an error in a sentence.

        Args:
            error: a `GrafanaException` of grafana-client or a `RequestException` of niquests.
            action: what was done, to stand behind "to".
        """
        from grafana_client.client import GrafanaException, GrafanaTimeoutError
        from niquests.exceptions import ConnectTimeout, JSONDecodeError, TooManyRedirects

        if isinstance(error, TooManyRedirects):
            return GrafanaError(
                f"Grafana at {self.url} redirects elsewhere: set grafana.url to the address that it redirects to, with "
                "https and the path where there are."
            )
        if isinstance(error, JSONDecodeError):
            return self.no_api()
        if isinstance(error, GrafanaTimeoutError) and not isinstance(error.__cause__, ConnectTimeout):
            return GrafanaBusy(
                f"Grafana at {self.url} did not answer within {self.timeout_s:g} s to {action}: look whether it is "
                "overloaded, then run the same again."
            )
        if isinstance(error, GrafanaException) and error.status_code:
            return self._refused(int(error.status_code), _said(error.response, self.token), action)
        return GrafanaBusy(
            f"Grafana at {self.url} could not be reached to {action} ({_root(error)}): check grafana.url and that "
            "Grafana runs; with BAROGRAPH_GRAFANA_URL set to nothing everything else is applied without it."
        )

    def no_api(self) -> GrafanaError:
        """Say that something else than Grafana answers."""
        return GrafanaError(
            f"What answers at {self.url} is not Grafana's API but a page or a proxy: set grafana.url to the address of "
            "Grafana, with the path that it is served under."
        )

    def _refused(self, status: int, said: str, action: str) -> GrafanaError:
        grafana, what = f"Grafana at {self.url}", f"({status}{': ' + said if said else ''})"
        if status == 401:
            return GrafanaError(
                f"{grafana} refuses the token {what}: make one for a service account with the role Admin "
                "(Administration, Users and access, Service accounts) and set BAROGRAPH_GRAFANA_TOKEN to it."
            )
        if status == 403 and "read-only" in said:
            return GrafanaError(
                f"{grafana} lets nobody {action} {what}, since it is provisioned from a file: take it out of Grafana's "
                "provisioning, or leave Grafana to its files with BAROGRAPH_GRAFANA_URL set to nothing."
            )
        if status == 403:
            return GrafanaError(
                f"{grafana} does not let this token {action} {what}: give its service account the role Admin, or the "
                "rights that docs/security.md lists."
            )
        if status == 404:
            return GrafanaMissing(
                f"{grafana} knows nothing of what it takes to {action} {what}: check that grafana.url is the address "
                "of Grafana with its path."
            )
        if status in _CONFLICTS:
            return GrafanaConflict(
                f"{grafana} refuses to {action} {what}: look in Grafana for another of that name, or for who changes "
                "it at the same time, then run `barograph plan`."
            )
        if status in _PASSING:
            return GrafanaBusy(f"{grafana} cannot {action} now {what}: wait until it is well, then run the same again.")
        if status >= 500:
            return GrafanaError(f"{grafana} failed to {action} {what}: its log says why; then run the same again.")
        return GrafanaError(f"{grafana} refuses to {action} {what}.")


def _said(response: object, token: str) -> str:
    """Grafana's own words on an error: one line, cut off, without the token."""
    message = response.get("message", "") if isinstance(response, dict) else response
    text = " ".join(str(message or "").split()).replace(token, "…").rstrip(".")
    if text.startswith("<"):
        return "a page of HTML"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _root(error: BaseException) -> str:
    """The system's own words on why a connection failed, from the innermost error."""
    words, current = type(error).__name__, error.__context__
    while current is not None:
        if isinstance(current, OSError) and (current.strerror or current.args):
            words = current.strerror or str(current.args[-1])
        current = current.__context__
    return " ".join(words.split())
