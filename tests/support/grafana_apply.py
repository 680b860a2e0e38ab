"""Deployment to the stub in tests."""

from collections.abc import Sequence

from barograph_server.provisioning.grafana import Grafana, GrafanaPlan, apply_grafana, plan_grafana
from barograph_server.provisioning.grafana.resources import Resource
from tests.support.grafana_bundle import bundle
from tests.support.stub_grafana import StubGrafana

TIMEOUT_S = 5.0


def apply(
    stub: StubGrafana,
    desired: Sequence[Resource] | None = None,
    *,
    overwrite: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> GrafanaPlan:
    with Grafana(stub.settings(), timeout_s=timeout_s, pause_s=0) as grafana:
        return apply_grafana(grafana, desired or bundle(), overwrite=overwrite)


def plan(stub: StubGrafana, desired: Sequence[Resource] | None = None, *, overwrite: bool = False) -> GrafanaPlan:
    with Grafana(stub.settings(), timeout_s=TIMEOUT_S, pause_s=0) as grafana:
        return plan_grafana(grafana, desired or bundle(), overwrite=overwrite)


def assert_settled(stub: StubGrafana, desired: Sequence[Resource] | None = None) -> None:
    before = len(stub.writes)
    assert apply(stub, desired).is_empty
    assert stub.since(before) == []
