"""The command line of `barograph promote`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from barograph_server.cli.options import Candidate, Connection, Model, Opt, Output
from barograph_server.errors import EXIT_HOLD, EXIT_INSUFFICIENT, EXIT_OK
from barograph_server.plain_values import plain
from barograph_server.rollouts.arm import ArmEvaluation
from barograph_server.rollouts.decide import decide
from barograph_server.rollouts.decision_text import (
    criteria_table,
    open_text,
    outcome_text,
    print_decision,
    print_harmed_slices,
)
from barograph_server.sketches.rollout.decision import Outcome
from barograph_server.terminal import Terminal


def arm_decision_json(evaluation: ArmEvaluation) -> dict[str, Any]:
    """Convert a decision about an arm to JSON values; numbers that are not finite become null."""
    control, whole, ratio = evaluation.arms.names[0], evaluation.whole, evaluation.ratio
    predictions = whole.sums["predictions"].sum(axis=(0, 2))
    comparison: dict[str, Any] = plain(evaluation.decision.comparison)
    return comparison | {
        "model": evaluation.model,
        "arm": evaluation.arm,
        "control": control,
        "outcome": evaluation.decision.outcome.value,
        "obstacles": list(evaluation.decision.obstacles),
        "first_day": whole.days[0],
        "last_day": whole.days[-1],
        "predictions": {control: int(predictions[0]), evaluation.arm: int(predictions[1])},
        "versions": {control: list(whole.versions[0]), evaluation.arm: list(whole.versions[1])},
        "sample_ratio": None
        if ratio is None
        else {
            "p_value": ratio.p_value,
            "level": ratio.level.name,
            "units": {each.arm: each.units for each in ratio.arms},
        },
    }


def print_arm_decision(terminal: Terminal, evaluation: ArmEvaluation) -> None:
    """Print the decision about an arm, its criteria, and the obstacles to a decision."""
    control, arms, comparison = evaluation.arms.names[0], evaluation.arms, evaluation.decision.comparison
    terminal.line(f"{evaluation.model}: arm {evaluation.arm} compared with arm {control}", "bold")
    predictions = evaluation.whole.sums["predictions"].sum(axis=(0, 2))
    ratio = evaluation.ratio
    units = {} if ratio is None else {each.arm: each.units for each in ratio.arms}
    for side, arm in enumerate((control, evaluation.arm)):
        of_units = f" of {units[arm]:,} units" if arms.unit and arm in units else ""
        versions = ", ".join(evaluation.whole.versions[side]) or "none"
        terminal.line(f"  {arm}: {int(predictions[side]):,} predictions{of_units}, versions {versions}")
    if ratio is not None:
        terminal.line(f"ratio of the arms: {ratio.level.name} (p = {ratio.p_value:.2g})")
    terminal.table(criteria_table(comparison))
    terminal.line(
        f"Differences are the quality of arm {evaluation.arm} minus that of arm {control}: above 0 is better."
    )
    if arms.unit:
        terminal.line(
            f"Intervals include that {arms.unit} stays in its arm. Slices are not judged for the same reason."
        )
    print_harmed_slices(terminal, comparison)
    for obstacle in evaluation.decision.obstacles:
        terminal.line(f"not decided: {obstacle}", "yellow")
    outcome = evaluation.decision.outcome
    is_open = outcome is Outcome.insufficient and not evaluation.decision.obstacles
    terminal.line(f"decision: {outcome.value}{open_text(comparison) if is_open else ''}", "bold")


def promote_command(
    output: Output,
    connection: Connection,
    model: Model,
    candidate: Candidate = None,
    arm: Annotated[str | None, Opt("Decide about this arm of an A/B test instead.", "ARM")] = None,
    policy: Annotated[Path | None, Opt("What a promotion needs beyond the decision (YAML).", "FILE")] = None,
) -> None:
    """Decide whether a candidate may replace the primary, from all pairs so far.

    The contract's section `shadow` names both, and how much worse the candidate may be by each criterion. After a
    promotion the decision is about the new primary. With --arm, an arm of an A/B test is compared with the control. You
    may look every day.

    Exits with 0 (promote, keep), 1 (hold, roll back), 2 (insufficient: too few days, or not yet decided) or 3 (error).

    Examples:
        barograph promote --model flight-delay
        barograph promote --model flight-delay --candidate 4 --policy policy.yaml
        barograph promote --model flight-delay --arm b
    """
    codes = {Outcome.promote: EXIT_OK, Outcome.hold: EXIT_HOLD, Outcome.insufficient: EXIT_INSUFFICIENT}
    terminal = Terminal()
    if arm is not None:
        evaluated = decide(model, candidate=candidate, arm=arm, policy=policy, settings=connection.config)
        output.show(evaluated, print_arm_decision, values=arm_decision_json)
        raise typer.Exit(codes[evaluated.decision.outcome])
    decision = decide(model, candidate=candidate, policy=policy, settings=connection.config)
    evaluation, outcome = decision.evaluation, decision.outcome
    decided = evaluation.decision.outcome
    if output.is_json:
        of_policy = {
            "outcome": outcome.value,
            "decision": {"outcome": decided.value},
            "policy": {"unmet": [each.text for each in decision.unmet]},
        }
        terminal.json(evaluation.record() | ({} if policy is None else of_policy))
    else:
        print_decision(terminal, evaluation)
        terminal.lines(each.text for each in decision.unmet)
        if outcome is not decided:
            text = outcome_text(evaluation.test.shadow, outcome, after_promotion=evaluation.test.after_promotion)
            terminal.line(f"with the policy: {text}", "bold")
    raise typer.Exit(codes[outcome])
