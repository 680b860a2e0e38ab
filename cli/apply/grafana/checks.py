"""What must hold before anything is written: Grafana's version, the plugin, and what the token may do."""

from __future__ import annotations

import re
from collections.abc import Collection

from cli.apply.grafana.client import Grafana, in_path
from cli.apply.grafana.errors import GrafanaError, GrafanaMissing

LEAST_GRAFANA = (13, 0)
"""Older ones silently drop keys of rules and dashboards that are written here."""
LEAST_PLUGIN = (4, 20, 0)
"""Queries use the macros of this version."""

_RIGHTS: dict[str, tuple[frozenset[str], ...]] = {
    "folder": (frozenset({"folders:create", "folders:write"}),),
    "data source": (frozenset({"datasources:create", "datasources:write"}),),
    "dashboard": (frozenset({"dashboards:create", "dashboards:write"}),),
    "rule group": (frozenset({"alert.provisioning:write"}), frozenset({"alert.rules.provisioning:write"})),
    "contact point": (frozenset({"alert.provisioning:write"}), frozenset({"alert.notifications.provisioning:write"})),
}
_RIGHTS["mute timing"] = _RIGHTS["notification policy"] = _RIGHTS["contact point"]
"""Kind of object → sets of actions, any of which is enough to write it."""


def check_server(grafana: Grafana, plugin: str) -> None:
    """Refuse a Grafana that cannot have what is deployed.

    Raises:
        GrafanaError: it is something else than Grafana, too old, not well, refuses the token, or lacks the plugin.
    """
    # Not the library's own check: it asks for the settings of pages, which lists every data source and panel.
    health = grafana.read("ask how it is", grafana.api.client.GET, "/health")
    if not isinstance(health, dict) or "database" not in health:
        raise GrafanaError(
            f"What answers at {grafana.url} is not Grafana: set grafana.url to its address, with the path that it is "
            "served under."
        )
    version = str(health.get("version") or "")
    # Grafana may be told to hide its version from whoever is not signed in; then the calls themselves tell.
    if _is_below(version, LEAST_GRAFANA):
        raise GrafanaError(
            f"Grafana at {grafana.url} is of version {version}, and dashboards and rules are made for "
            f"{LEAST_GRAFANA[0]} and later, since older ones leave out what they do not know: upgrade it, or set "
            "BAROGRAPH_GRAFANA_URL to nothing to leave it out."
        )
    try:
        result = grafana.read("ask for its plugins", grafana.api.client.GET, f"/plugins/{in_path(plugin)}/settings")
    except GrafanaMissing as error:
        raise GrafanaError(
            f"Grafana at {grafana.url} lacks the plugin {plugin}: install {_dotted(LEAST_PLUGIN)} or later "
            f"(GF_PLUGINS_PREINSTALL_SYNC={plugin}@{_dotted(LEAST_PLUGIN)}, or Administration, Plugins), then run the "
            "same again."
        ) from error
    installed = str((result.get("info") or {}).get("version") or "")
    if _is_below(installed, LEAST_PLUGIN):
        raise GrafanaError(
            f"Grafana at {grafana.url} has the plugin {plugin} in version {installed}, and the queries are made for "
            f"{_dotted(LEAST_PLUGIN)} and later: update it (Administration, Plugins)."
        )


def check_rights(grafana: Grafana, kinds: Collection[str]) -> None:
    """Refuse a token that may not write what is to be written, before anything is.

    A Grafana that does not tell the rights of a token is believed to grant them; each call says otherwise then.

    Raises:
        GrafanaError: a right is missing.
    """
    try:
        granted = grafana.read("ask for the token's rights", grafana.api.client.GET, "/access-control/user/permissions")
    except GrafanaMissing:
        return
    missing: dict[str, None] = {}
    for kind in kinds:
        enough = _RIGHTS[kind]
        if not any(actions <= granted.keys() for actions in enough):
            missing |= dict.fromkeys(sorted(enough[0] - granted.keys()))
    if missing:
        raise GrafanaError(
            f"The token may read Grafana at {grafana.url} and not write what has to be written; it lacks "
            f"{', '.join(missing)}. Give its service account the role Admin, or the rights that docs/security.md "
            "lists. Nothing was written to Grafana."
        )


def _is_below(version: str, least: tuple[int, ...]) -> bool:
    """Whether a version (`13.2.3`, `13.3.0-pre`) is too old; one without numbers is believed to be new."""
    result = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return result is not None and tuple(map(int, result[1].split("."))) < least


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
