"""Grafana's start from provisioning files: what it stores, and what makes it exit.

Read are data sources, then alerting, then dashboards; a folder that is not found is created.
Source: Grafana 13.2, pkg/services/provisioning.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from barograph_server.alerts.schema import FILE, faults
from tests.support.grafana_state import GrafanaState, Json

ROOT = Path(__file__).resolve().parents[2]
PROVISIONING = PurePosixPath("/etc/grafana/provisioning")
DATA_SOURCE: dict[str, Any] = {
    **{key: str for key in ("name", "type", "*uid", "*url", "*user", "*database", "*basicAuthUser")},
    **{key: bool for key in ("*basicAuth", "*withCredentials", "*isDefault", "*editable")},
    **{"*orgId": int, "*version": int, "*access": ("proxy", "direct")},
    "*jsonData": {
        **{key: str for key in ("host", "*protocol", "*path", "*username", "*defaultDatabase", "*defaultTable")},
        **{key: str for key in ("*dialTimeout", "*queryTimeout", "*connMaxLifetime", "*maxIdleConns", "*maxOpenConns")},
        **{key: bool for key in ("*secure", "*tlsSkipVerify", "*tlsAuth", "*tlsAuthWithCACert", "*validateSql")},
        "port": int,
        "*customSettings": [{"setting": str, "value": str}],
    },
    "*secureJsonData": {"*password": str, "*tlsCACert": str, "*tlsClientCert": str, "*tlsClientKey": str},
}
"""A data source of the plugin grafana-clickhouse-datasource 4.20.0 (its src/types/config.ts)."""
PROVIDER: dict[str, Any] = {
    **{"name": str, "type": ("file",), "*folder": str, "*folderUid": str, "*orgId": int},
    **{"*disableDeletion": bool, "*allowUiUpdates": bool, "*updateIntervalSeconds": int},
    "options": {"path": str, "*foldersFromFilesStructure": bool},
}
SHAPES = {
    "datasources": {
        "apiVersion": int,
        "*prune": bool,
        "*deleteDatasources": [{"name": str, "*orgId": int}],
        "datasources": [DATA_SOURCE],
    },
    "dashboards": {"apiVersion": int, "providers": [PROVIDER]},
    "alerting": FILE,
}
"""Folder of provisioning → the shape of its files. Grafana ignores keys that are not listed."""
_IN_API = {"keepFiringFor": "keep_firing_for", "missing_series_evals_to_resolve": "missingSeriesEvalsToResolve"}
_ADDRESSES = {"slack": "url", "webhook": "url", "pagerduty": "integrationKey"}
Mounted = dict[PurePosixPath, str]
"""Path in the container → content."""


class StartError(Exception):
    """Grafana logs this and exits."""


def mounted_files(volumes: list[str]) -> Mounted:
    """Read the files that the volumes of a compose service mount from the repository."""
    files = {}
    for volume in volumes:
        source, _, target = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).removesuffix(":ro").rpartition(":")
        if source.startswith("./"):
            path = ROOT / source
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file():
                    files[PurePosixPath(target) / file.relative_to(path)] = file.read_text("utf-8", "replace")
    return files


def key_faults(files: Mounted) -> list[str]:
    """List the keys of provisioning files that Grafana does not read, or that it misses."""
    return [
        f"{kind}/{name}{fault}"
        for kind, shape in SHAPES.items()
        for name, content in _documents(files, kind)
        for fault in faults(content, shape)
    ]


def start(state: GrafanaState, files: Mounted, environ: Mapping[str, str]) -> None:
    """Start Grafana with files on the state of a new one or of a volume; raise `StartError` if it would exit."""
    for _, content in _documents(files, "datasources"):
        for source in expanded(content["datasources"], environ):
            own = {"id": 1, "orgId": 1, "version": 1, "readOnly": not source.get("editable", False)}
            state.store_source(source["uid"], source, own)
    _provision_alerting(state, [expanded(content, environ) for _, content in _documents(files, "alerting")])
    for _, content in _documents(files, "dashboards"):
        for provider in expanded(content["providers"], environ):
            _provision_dashboards(state, provider, files)


def _provision_alerting(state: GrafanaState, contents: list[Json]) -> None:
    for group in _each(contents, "groups"):
        folder = state.folder_of(group["folder"])
        rules = [
            {
                **{_IN_API.get(key, key): value for key, value in rule.items()},
                "folderUID": folder,
                "ruleGroup": group["name"],
                "provenance": "file",
            }
            for rule in group["rules"]
        ]
        state.groups[folder, group["name"]] = {"interval": group["interval"], "rules": rules}
    deleted = {rule["uid"] for rule in _each(contents, "deleteRules")}
    for position, group in list(state.groups.items()):
        group["rules"] = [rule for rule in group["rules"] if rule["uid"] not in deleted]
        if not group["rules"]:
            del state.groups[position]
    for point in _each(contents, "contactPoints"):
        for receiver in point["receivers"]:
            if not receiver["settings"].get(_ADDRESSES[receiver["type"]]):
                raise StartError(f"contact point {point['name']}: {_ADDRESSES[receiver['type']]} is empty")
            state.points = [known for known in state.points if known["uid"] != receiver["uid"]]
            state.points.append(state.stored_point({"name": point["name"], **receiver}, "file"))
    for timing in _each(contents, "muteTimes"):
        state.store_timing(timing, "file")
    for tree in _each(contents, "policies"):
        if problem := state.tree_problem(tree):
            raise StartError(problem)
        state.tree, state.tree_provenance = {key: value for key, value in tree.items() if key != "orgId"}, "file"


def _provision_dashboards(state: GrafanaState, provider: Json, files: Mounted) -> None:
    folder = state.folder_of(provider["folder"], provider.get("folderUid", "")) if provider.get("folder") else ""
    for path, text in files.items():
        if path.is_relative_to(provider["options"]["path"]) and path.suffix == ".json":
            dashboard = json.loads(text)
            state.dashboards[dashboard["uid"]] = {
                "dashboard": dashboard,
                "folder": folder,
                "version": 1,
                "by": "",
                "provisioned": True,
            }


def expanded(value: Any, environ: Mapping[str, str]) -> Any:
    """Resolve the variables in the values of a file; Grafana leaves a `model` as it is."""
    if isinstance(value, dict):
        raw = [key for key, inner in value.items() if key == "model" and isinstance(inner, dict)]
        return {key: inner if key in raw else expanded(inner, environ) for key, inner in value.items()}
    if isinstance(value, list):
        return [expanded(item, environ) for item in value]
    if isinstance(value, str):
        return re.sub(
            r"\$\$|\$\{(\w+)\}|\$(\w+)",
            lambda match: "$" if match[0] == "$$" else environ.get(match[1] or match[2], ""),
            value,
        )
    return value


def _documents(files: Mounted, kind: str) -> Iterator[tuple[str, Any]]:
    for path, text in sorted(files.items()):
        if path.is_relative_to(PROVISIONING / kind):
            yield path.name, yaml.load(text, Loader=yaml.CSafeLoader)


def _each(contents: list[Json], key: str) -> Iterator[Json]:
    for content in contents:
        yield from content.get(key, [])
