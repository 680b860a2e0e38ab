"""`evaluate` for notebooks and `barograph eval gate`: whether a candidate is worse than the accepted runs."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from barograph_server.author import author_name
from barograph_server.evaluation.suites.gate import GateDecision, SuiteRules, decide_gate, load_gate_policy
from barograph_server.settings import SettingsOrPath, open_settings
from barograph_server.sketches.comparison.paired_items import SuiteOutcome
from barograph_server.warehouse.client import connect
from barograph_server.warehouse.evaluation.eval_runs import store_acceptances


def evaluate(
    model: str,
    candidate: str | Sequence[str],
    policy: Mapping[str, SuiteRules] | str | Path,
    *,
    accept: bool = False,
    by: str | None = None,
    settings: SettingsOrPath = None,
) -> GateDecision:
    """Decide whether a candidate is at most a margin worse than the accepted run of each suite, item by item.

    Args:
        candidate: a prompt (`answer@8`), a served model, or run ids of several suites.
        policy: the rules of each suite, or the path of their file.
        accept: whether to record the runs of an accepted candidate, so that later ones are compared with it.
        by: who accepts; by default the user of this machine.

    Raises:
        ContractError: the policy is not valid.
    """
    candidates = [candidate] if isinstance(candidate, str) else candidate
    rules = load_gate_policy(Path(policy)) if isinstance(policy, str | Path) else policy
    author = author_name(by)
    with connect(open_settings(settings, needs=("clickhouse",)).warehouse) as client:
        decision = decide_gate(client, model, candidates, rules)
        is_decided = decision.outcome is SuiteOutcome.ACCEPT or decision.can_begin
        if not (accept and is_decided and decision.new_runs):
            return decision
        store_acceptances(client, decision.new_runs, author, int(time.time() * 1000))
    return replace(decision, is_accepted=True)
