"""`plan` and `apply` for notebooks and the commands: from files of contracts, baselines and codebooks."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from barograph_server.provisioning.files import read_inputs
from barograph_server.provisioning.plan import Plan, apply_all, plan_all
from barograph_server.provisioning.promotions import PromotionGrounds
from barograph_server.settings import SettingsOrPath, open_settings
from barograph_server.streams.unencrypted import unencrypted_connections
from barograph_server.times import parse_effective

Paths = Sequence[str | Path]


def plan(
    contracts: Paths = (),
    *,
    baselines: Paths = (),
    codebooks: Paths = (),
    effective: str | None = None,
    overwrite_grafana: bool = False,
    settings: SettingsOrPath = None,
) -> Plan:
    """Plan what `apply` would change, and change nothing. Errors are those of `read_inputs` and `plan_all`.

    Args:
        contracts: contract files; without them, only tables and topics.
        baselines: baseline files; by default those next to the contracts.
        codebooks: files of codebooks; by default those next to the contracts.
        effective: event time from which a replacement baseline applies, such as `2026-03-01T00:00:00Z`.
        overwrite_grafana: whether to overwrite Grafana objects that were not applied from here.
    """
    inputs = read_inputs(_paths(contracts), _paths(baselines), _paths(codebooks))
    effective_s = parse_effective(effective)
    return plan_all(open_settings(settings), *inputs, effective_s=effective_s, overwrite_grafana=overwrite_grafana)


def apply(
    contracts: Paths = (),
    *,
    baselines: Paths = (),
    codebooks: Paths = (),
    effective: str | None = None,
    reason: str = "",
    evidence: Paths = (),
    override: str = "",
    by: str = "",
    overwrite_grafana: bool = False,
    settings: SettingsOrPath = None,
    on_warning: Callable[[str], None] = warnings.warn,
) -> Plan:
    """Create or change tables, topics, contracts and baselines, and return the changes; a second run changes nothing.

    Objects of Grafana that were not applied from here are in `grafana.skipped` of the result.

    Arguments are those of `plan`, and these:

    Args:
        evidence: bundles for new serving versions.
        override: why a new serving version is applied without evidence; stored.
        by: who overrides; stored.
        on_warning: receives a warning about each connection without encryption, before the first change.
    """
    inputs = read_inputs(_paths(contracts), _paths(baselines), _paths(codebooks))
    settings = open_settings(settings)
    for connection in unencrypted_connections(settings.bootstrap_servers, settings.kafka, settings.warehouse):
        on_warning(f"{connection.message} {connection.action}")
    return apply_all(
        settings,
        *inputs,
        effective_s=parse_effective(effective),
        reason=reason,
        grounds=PromotionGrounds(_paths(evidence), override, by),
        overwrite_grafana=overwrite_grafana,
    )


def _paths(paths: Paths) -> list[Path]:
    return [Path(path) for path in paths]
