"""Checks before the first write: Grafana's version, the plugin, and the token's permissions."""

from __future__ import annotations

import re
from collections.abc import Collection

from barograph_server.grafana.client import Grafana, escape_segment
from barograph_server.grafana.errors import GrafanaError, GrafanaMissing

MIN_GRAFANA = (13, 0)
"""Minimum version of Grafana; older ones silently drop keys of our rules and dashboards."""
MIN_PLUGIN = (4, 20, 0)
"""Minimum version of the plugin; queries use its macros."""

_PERMISSIONS: dict[str, tuple[frozenset[str], ...]] = {
    "folder": (frozenset({"folders:create", "folders:write"}),),
    "data source": (frozenset({"datasources:create", "datasources:write"}),),
    "dashboard": (frozenset({"dashboards:create", "dashboards:write"}),),
    "rule group": (frozenset({"alert.provisioning:write"}), frozenset({"alert.rules.provisioning:write"})),
    "contact point": (frozenset({"alert.provisioning:write"}), frozenset({"alert.notifications.provisioning:write"})),
}
_PERMISSIONS["mute timing"] = _PERMISSIONS["notification policy"] = _PERMISSIONS["contact point"]
"""Kind of resource → sets of actions; any one set is enough to write it."""


def check_server(grafana: Grafana, plugin: str) -> None:
    """Check that Grafana can store and show the bundle.

    Raises:
        GrafanaError: the server is not Grafana, is too old, is unhealthy, rejects the token, or lacks the plugin.
    """
    # The client library's own check requests the frontend settings, which list every data source and panel.
    health = grafana.read("check its health", grafana.api.client.GET, "/health")
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
    try:
        result = grafana.read("read the plugin", grafana.api.client.GET, f"/plugins/{escape_segment(plugin)}/settings")
    except GrafanaMissing as error:
        raise GrafanaError(
            f"Grafana at {grafana.url} lacks the plugin {plugin}: install {_dotted(MIN_PLUGIN)} or later "
            f"(GF_PLUGINS_PREINSTALL_SYNC={plugin}@{_dotted(MIN_PLUGIN)}, or Administration, Plugins), then run the "
            "command again."
        ) from error
    installed = str((result.get("info") or {}).get("version") or "")
    if _is_below(installed, MIN_PLUGIN):
        raise GrafanaError(
            f"Grafana at {grafana.url} has the plugin {plugin} {installed}, but the queries need "
            f"{_dotted(MIN_PLUGIN)} or later: update it (Administration, Plugins)."
        )


def check_permissions(grafana: Grafana, kinds: Collection[str]) -> None:
    """Check before the first write that the token may write these kinds of resources.

    A Grafana without this endpoint is assumed to grant all permissions; its API rejects each write otherwise.

    Raises:
        GrafanaError: a permission is missing.
    """
    try:
        granted = grafana.read(
            "read the token's permissions", grafana.api.client.GET, "/access-control/user/permissions"
        )
    except GrafanaMissing:
        return
    missing: dict[str, None] = {}
    for kind in kinds:
        alternatives = _PERMISSIONS[kind]
        if not any(actions <= granted.keys() for actions in alternatives):
            missing |= dict.fromkeys(sorted(alternatives[0] - granted.keys()))
    if missing:
        raise GrafanaError(
            f"The token can read Grafana at {grafana.url} but not write all resources; it lacks {', '.join(missing)}. "
            "Grant its service account the role Admin, or the permissions listed in docs/security.md. Nothing was "
            "written to Grafana."
        )


def _is_below(version: str, minimum: tuple[int, ...]) -> bool:
    """Whether a version (`13.2.3`, `13.3.0-pre`) is too old; a version without numbers is assumed to be new."""
    result = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return result is not None and tuple(map(int, result[1].split("."))) < minimum


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
