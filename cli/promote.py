"""The command line of `barograph promote`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from barograph_server.cli.options import CandidateOption, ConfigOption, JsonOption, ModelOption


def promote_command(
    model: ModelOption,
    candidate: CandidateOption = None,
    arm: Annotated[
        str | None,
        typer.Option(metavar="ARM", help="Decide about this arm of an A/B test instead.", show_default=False),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What a promotion needs beyond the decision (YAML).", show_default=False),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Decide whether a candidate may replace the primary, from all pairs so far.

    The contract's section `shadow` names the candidate, the primary, and how much worse the candidate may be by
    each criterion. The decision may be looked at every day without more errors than stated. If the primary was the
    candidate before and the version that it replaced is now its shadow, the decision is about the primary: keep it or
    roll back. With --arm, an arm of an A/B test is compared with the control, by the margins of the section `arms`.

    Exits with 0 (promote, keep), 1 (hold, roll back), 2 (insufficient: too few days, or not yet decided) or 3 (error).

    Examples:
        barograph promote --model flight-delay
        barograph promote --model flight-delay --candidate 4 --policy policy.yaml
        barograph promote --model flight-delay --arm b
    """
    from barograph_server.cli.promote_arms import arm_decision_json, evaluate_arm, print_arm_decision
    from barograph_server.cli.promote_text import decision_json, outcome_text, print_decision
    from barograph_server.errors import EXIT_HOLD, EXIT_INSUFFICIENT, EXIT_OK, CommandError
    from barograph_server.rollouts.candidate import evaluate
    from barograph_server.rollouts.policy import PromotionPolicy, load_policy, unmet_requirements
    from barograph_server.settings import load_settings
    from barograph_server.sketches.rollout.decision import Outcome
    from barograph_server.terminal import Terminal
    from barograph_server.warehouse.client import connect

    codes = {Outcome.promote: EXIT_OK, Outcome.hold: EXIT_HOLD, Outcome.insufficient: EXIT_INSUFFICIENT}
    if arm is not None:
        if candidate is not None or policy is not None:
            raise CommandError("--candidate and --policy are about candidates: leave them out with --arm.")
        settings = load_settings(config, needs=("clickhouse",))
        with connect(settings.warehouse) as client:
            of_arm = evaluate_arm(client, model, arm)
        if as_json:
            Terminal().json(arm_decision_json(of_arm))
        else:
            print_arm_decision(Terminal(), of_arm)
        raise typer.Exit(codes[of_arm.decision.outcome])
    rules = PromotionPolicy() if policy is None else load_policy(policy)
    settings = load_settings(config, needs=("clickhouse",))
    with connect(settings.warehouse) as client:
        evaluation = evaluate(client, model, candidate)
    test, decided = evaluation.test, evaluation.decision
    unmet = unmet_requirements(rules, test.shadow.margins, evaluation.judged, decided, test.judged_version)
    outcome = decided.outcome
    if outcome is Outcome.promote and unmet:
        outcome = Outcome.insufficient if all(each.may_pass_later for each in unmet) else Outcome.hold
    if as_json:
        of_policy = {
            "outcome": outcome.value,
            "decision": {"outcome": decided.outcome.value},
            "policy": {"unmet": [each.text for each in unmet]},
        }
        Terminal().json(decision_json(evaluation) | ({} if policy is None else of_policy))
    else:
        terminal = Terminal()
        print_decision(terminal, evaluation)
        terminal.lines(each.text for each in unmet)
        if outcome is not decided.outcome:
            text = outcome_text(test.shadow, outcome, is_canary=test.is_canary)
            terminal.line(f"with the policy: {text}", "bold")
    raise typer.Exit(codes[outcome])
