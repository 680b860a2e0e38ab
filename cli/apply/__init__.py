"""`barograph plan` and `barograph apply`: deploy tables, topics, contracts, baselines and Grafana resources."""

from __future__ import annotations

from barograph_server.cli.apply.plan import Plan, apply_all, plan_all
from barograph_server.cli.errors import ApplyError

__all__ = ["ApplyError", "Plan", "apply_all", "plan_all"]
