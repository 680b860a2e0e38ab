"""`barograph plan` and `barograph apply`: deploy tables, topics, contracts, baselines and Grafana resources."""

from barograph_server.errors import ApplyError
from barograph_server.provisioning.plan import Plan, apply_all, plan_all

__all__ = ["ApplyError", "Plan", "apply_all", "plan_all"]
