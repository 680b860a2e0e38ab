import dataclasses
import re
from typing import Any

import numpy as np
import pytest
from barograph.contract import Contract
from barograph.contract.file import parse_contract

from barograph_server.alerts import AlertSettings, Rule, rules_of
from barograph_server.alerts.simulator import Simulation, simulate
from barograph_server.sketches.baseline.levels import LEVEL_NAMES
from barograph_server.sketches.drift.overdispersion import learn_phi
from barograph_server.sketches.drift.psi import PsiVerdicts, psi_values, psi_verdicts
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_columns
from tests.support.warehouse import columns

pytestmark = pytest.mark.long
WINDOWS, HOUR_S, WEEK_S = 10_000, 3600, 7 * 86_400
SIZES = (50, 100, 200, 500, 1_000, 10_000, 100_000)
CONTRACT = parse_contract(
    "contract: 1\nmodel: m\nwindows: [{length: 1h, hop: 1h}]\nfields:\n"
    + "".join(f"  n{n}: {{type: float, critical: true}}\n" for n in SIZES)
)
CLUSTERS = (1, 2, 5, 12)
"""Sizes of groups of equal events in correlated traffic: equally many groups of each size."""
FAST = parse_contract(
    "contract: 1\nmodel: fast\nwindows: [{length: 1h, hop: 1h}, {length: 1d, hop: 1h}]\nfields:\n"
    + "".join(f"  {kind}{n}: {{type: float, critical: true}}\n" for kind in ("n", "c") for n in SIZES)
)
"""Its long windows show no drift, so that only the short ones can fire."""
END_S = 1_790_000_000 // HOUR_S * HOUR_S
START_S = END_S - WINDOWS * HOUR_S


BASE, SHARES = np.array([10_000] * 10 + [0]), [*[0.1] * 10, 0.0]
"""The ten equal bins of training, and nulls."""


def null_verdicts(n: int, rng: np.random.Generator) -> PsiVerdicts:
    """Verdicts on windows of n events that are drawn from the bins of training."""
    return psi_verdicts(BASE, rng.multinomial(n, SHARES, WINDOWS), [0], phi=np.array([1.0]), thresholds=(0.1, 0.2))


def correlated_verdicts(n: int, rng: np.random.Generator) -> PsiVerdicts:
    """Verdicts on windows of about n events that repeat in groups, with φ learned from 100 other windows."""
    groups = -(-n // sum(CLUSTERS))
    counts = np.sum([size * rng.multinomial(groups, SHARES, WINDOWS + 100) for size in CLUSTERS], axis=0)
    _, df, t, _ = psi_values(BASE, counts[:100], [0])
    phi = learn_phi(t, df, counts[:100].sum(axis=1, keepdims=True)).value
    assert 4 < phi[0] < 14, "Σ size² / Σ size is 8.7, less if the window is as large as the baseline"
    return psi_verdicts(BASE, counts[100:], [0], phi=phi, thresholds=(0.1, 0.2))


@pytest.fixture(scope="module")
def verdicts() -> dict[str, PsiVerdicts]:
    return {f"n{n}": null_verdicts(n, np.random.default_rng(n)) for n in SIZES}


@pytest.fixture(scope="module")
def client(migrated_client: Client, verdicts: dict[str, PsiVerdicts]) -> Client:
    for field, result in verdicts.items():
        insert(migrated_client, "m", field, "1h", result)
    correlated = {f"c{n}": correlated_verdicts(n, np.random.default_rng(n)) for n in SIZES}
    for field, result in (verdicts | correlated).items():
        insert(migrated_client, "fast", field, "1h", result)
        insert(migrated_client, "fast", field, "1d", verdicts["n100000"])
    return migrated_client


def insert(client: Client, model: str, field: str, window: str, verdicts: PsiVerdicts) -> None:
    ends = START_S + HOUR_S * np.arange(1, WINDOWS + 1)
    who = {"model": model, "version": "1", "slice": "all", "field": field, "window": window}
    when = {"window_start": ends - HOUR_S, "window_end": ends, "judged_at": ends * 1000}
    values = {"n": verdicts.n, "psi": verdicts.psi, "psi_low": verdicts.low, "psi_high": verdicts.psi}
    judged: dict[str, Any] = {name: array[:, 0] for name, array in values.items()}
    judged |= {"level": np.array(LEVEL_NAMES)[verdicts.level[:, 0]], "record_seq": np.arange(WINDOWS)}
    insert_columns(client, "drift", columns("drift", WINDOWS, **who) | when | judged)


def rule_named(name: str, contract: Contract = CONTRACT) -> Rule:
    return next(rule for rule in rules_of(contract, AlertSettings()) if rule.name == name)


def simulated(client: Client, rule: Rule) -> Simulation:
    return simulate(client, [rule], AlertSettings(), START_S, END_S, "ended")


@pytest.mark.parametrize("name", ["psi-major", "psi-minor"])
def test_false_alarms_are_as_rare_as_stated(client: Client, verdicts: dict[str, PsiVerdicts], name: str) -> None:
    rule = rule_named(name)
    stated = re.search(r"at most ([\d.e-]+) times a week", rule.description)
    assert stated
    per_week = float(stated[1])
    (replay,) = simulated(client, rule).replays
    fired = {field: sum(episode.key == field for episode in replay.episodes) for field in rule.signal.keys}
    expected = per_week * WINDOWS * HOUR_S / WEEK_S
    # Three standard deviations of a Poisson count beyond what is stated.
    assert max(fired["n50"], fired["n100"]) <= expected + 3 * expected**0.5
    assert not any(fired[f"n{n}"] for n in SIZES if n >= 200)
    # Plain PSI values exceed the threshold often: the rule, and not the data, prevents alarms.
    assert (verdicts["n50"].psi > 0.2).sum() > 1000
    print(name, fired, f"stated {per_week:.3g} a week")


def test_no_quiet_window_pages_alone_whether_its_events_are_independent_or_correlated(client: Client) -> None:
    rule = rule_named("psi-major", FAST)
    assert rule.signal.fast_threshold == 0.5
    (replay,) = simulated(client, rule).replays
    assert not replay.episodes
    # A threshold that these windows exceed fires, so the short windows are read.
    lower = dataclasses.replace(rule, signal=dataclasses.replace(rule.signal, fast_threshold=1e-4))
    (replay,) = simulated(client, lower).replays
    assert {episode.key for episode in replay.episodes} >= {"n500", "c10000"}


def test_a_threshold_that_these_windows_exceed_fires(client: Client) -> None:
    rule = rule_named("psi-major")
    lower = dataclasses.replace(rule, signal=dataclasses.replace(rule.signal, threshold=1e-5), clear=1e-6)
    (replay,) = simulated(client, lower).replays
    assert {episode.key for episode in replay.episodes} >= {f"n{n}" for n in SIZES if n >= 500}
