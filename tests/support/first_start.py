"""The first start of the compose file, step by step: what starts when, what fails, and what is tried again.

Servers follow a script, as the images behave at their first start: ClickHouse's image first runs a temporary server on
127.0.0.1. Compose's rules are simulated: conditions of `depends_on`, health checks, restart policies. `users` runs the
real script, Grafana reads the real files.

Source: the Compose Specification (depends_on, healthcheck, restart), and docker/server/entrypoint.sh of ClickHouse.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from tests.support.deploy_scripts import load_script
from tests.support.grafana_provisioning import mounted_files, start
from tests.support.grafana_state import GrafanaState
from warehouse.client import Address, WarehouseBusy

Reach = Literal["closed", "loopback", "open"]
"""From where a server can be reached: nowhere, inside its container, from other containers."""
SCRIPT: dict[str, tuple[Reach, ...]] = {
    "clickhouse": ("closed", "closed", "loopback", "loopback", "closed", "open"),
    "kafka": (*("closed",) * 9, "open"),
}
"""Server → where it is reached from in each step after its start; the last applies from then on."""
STEPS = 40


class _Failed(Exception):
    """A container exits with an error."""


@dataclass
class FirstStart:
    """One start of all services."""

    services: Mapping[str, Any]
    monkeypatch: pytest.MonkeyPatch
    started: dict[str, int] = field(default_factory=dict)
    """Service → the step in which it started and did not fail; a job has then done its work."""
    failures: Counter[str] = field(default_factory=Counter)
    """Service → how often it exited with an error."""
    early_rules: bool = False
    """Whether Grafana evaluated rules before the tables, or the user of its data source, existed."""
    grafana: GrafanaState = field(default_factory=GrafanaState)
    _step: int = 0
    _users: set[str] = field(default_factory=set)
    _has_tables: bool = False

    def run(self) -> FirstStart:
        """Simulate all steps."""
        for self._step in range(STEPS):
            for name in self.services:
                if name not in self.started and self._may_start(name) and self._is_retried(name):
                    try:
                        self._run(name)
                    except _Failed:
                        self.failures[name] += 1
                    else:
                        self.started[name] = self._step
        return self

    def _may_start(self, name: str) -> bool:
        for needed, how in self.services[name].get("depends_on", {}).items():
            condition = how["condition"]
            # A job that completed, or a server that runs, started in an earlier step.
            if self.started.get(needed, self._step) >= self._step:
                return False
            if condition == "service_healthy" and not self._is_healthy(needed):
                return False
        return True

    def _is_healthy(self, name: str) -> bool:
        inside = any("127.0.0.1" in word or "localhost" in word for word in self.services[name]["healthcheck"]["test"])
        return self._reach(name) in (("loopback", "open") if inside else ("open",))

    def _is_retried(self, name: str) -> bool:
        policy, _, most = str(self.services[name].get("restart", "no")).partition(":")
        n = self.failures[name]
        return n == 0 or policy in ("always", "unless-stopped") or (policy == "on-failure" and n <= int(most or STEPS))

    def _reach(self, name: str) -> Reach:
        if name not in self.started:
            return "closed"
        script = SCRIPT[name]
        return script[min(self._step - self.started[name], len(script) - 1)]

    def _run(self, name: str) -> None:
        if name in SCRIPT:
            return
        if name == "users":
            self._create_users()
        elif name == "grafana":
            service = self.services[name]
            start(self.grafana, mounted_files(service["volumes"]), {key: "set" for key in service["environment"]})
            user = self.grafana.sources["barograph"]["jsonData"]["username"]
            self.early_rules = not (self._has_tables and user in self._users)
        else:
            user = self.services[name]["environment"]["BAROGRAPH_CLICKHOUSE_USERNAME"]
            is_up = self._reach("clickhouse") == self._reach("kafka") == "open"
            if not (is_up and user in self._users and (self._has_tables or name == "apply")):
                raise _Failed
            self._has_tables = True

    def _create_users(self) -> None:
        script = load_script("clickhouse/create_users.py")
        environ = {key: "secret" if "PASSWORD" in key else str(value) for key, value in self._environ("users").items()}
        with self.monkeypatch.context() as patched:
            patched.setattr(script, "connect", self._connect)
            # The script itself waits, too; here each container has one attempt.
            if script.main(environ, patience_s=-1.0, pause_s=0.0):
                raise _Failed

    def _environ(self, name: str) -> Mapping[str, Any]:
        environ: Mapping[str, Any] = self.services[name]["environment"]
        return environ

    @contextmanager
    def _connect(self, address: Address) -> Iterator[FirstStart]:
        if self._reach(address.host) != "open":
            raise WarehouseBusy(f"{address.host} refused the connection")
        yield self

    def command(self, sql: str) -> None:
        """Receive a statement of `users`."""
        if sql.startswith("CREATE USER IF NOT EXISTS "):
            self._users.add(sql.split()[5])
