"""Checks before the first write: Grafana's version, the plugin, and the token's permissions."""

import re
from collections.abc import Set

from barograph_server.grafana.client import Grafana, escape_segment
from barograph_server.grafana.errors import GrafanaError

MIN_GRAFANA = (13, 0)
"""Minimum version of Grafana; older ones silently drop keys of our rules and dashboards."""
MIN_PLUGIN = (4, 20, 0)
"""Minimum version of the plugin; queries use its macros."""
_PROVISIONING = frozenset({"alert.rules.provisioning:write", "alert.notifications.provisioning:write"})
"""What `alert.provisioning:write` includes."""


def check_server(grafana: Grafana, plugin: str) -> None:
    """Check that Grafana can store and show the resources.

    Raises:
        GrafanaError: the server is not Grafana, is too old, is unhealthy, rejects the token, or lacks the plugin.
    """
    health = grafana.read("check its health", "/health")
    if not isinstance(health, dict) or "database" not in health:
        raise GrafanaError(
            f"The server at {grafana.url} is not Grafana: set grafana.url to the URL of Grafana, including its path."
        )
    version = str(health.get("version") or "")
    # Grafana can be configured to hide its version from anonymous users; an incompatible call then fails by itself.
    if _is_below(version, MIN_GRAFANA):
        raise GrafanaError(
            f"Grafana at {grafana.url} has version {version}, but dashboards and rules need {MIN_GRAFANA[0]} or later: "
            "older versions drop unknown keys. Upgrade it, or set BAROGRAPH_GRAFANA_URL to an empty value to skip "
            "Grafana."
        )
    required = ".".join(map(str, MIN_PLUGIN))
    result = grafana.find("read the plugin", f"/plugins/{escape_segment(plugin)}/settings")
    if result is None:
        raise GrafanaError(
            f"Grafana at {grafana.url} lacks the plugin {plugin}: install {required} or later "
            f"(GF_PLUGINS_PREINSTALL_SYNC={plugin}@{required}, or Administration, Plugins), then run the command again."
        )
    installed = str((result.get("info") or {}).get("version") or "")
    if _is_below(installed, MIN_PLUGIN):
        raise GrafanaError(
            f"Grafana at {grafana.url} has the plugin {plugin} {installed}, but the queries need {required} or later: "
            "update it (Administration, Plugins)."
        )


def check_permissions(grafana: Grafana, actions: Set[str]) -> None:
    """Check before the first write that the token has these permissions.

    A Grafana without this endpoint is assumed to grant all permissions; its API rejects each write otherwise.

    Raises:
        GrafanaError: a permission is missing.
    """
    granted = grafana.find("read the token's permissions", "/access-control/user/permissions")
    if granted is None:
        return
    missing = actions - granted.keys() - (_PROVISIONING if "alert.provisioning:write" in granted else set())
    if missing:
        raise GrafanaError(
            f"The token can read Grafana at {grafana.url} but not write all resources; it lacks "
            f"{', '.join(sorted(missing))}. Grant its service account the role Admin, or the permissions listed in "
            "docs/security.md. Nothing was written to Grafana."
        )


def _is_below(version: str, minimum: tuple[int, ...]) -> bool:
    """Whether a version (`13.2.3`, `13.3.0-pre`) is too old; a version without numbers is assumed to be new."""
    result = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return result is not None and tuple(map(int, result[1].split("."))) < minimum
