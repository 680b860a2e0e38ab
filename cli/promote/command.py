"""The command line of `barograph promote`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import ConfigOption, JsonOption


def promote_command(
    model: Annotated[str, typer.Option("--model", help="Name of the model.", show_default=False)],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Decide whether a candidate may replace the primary, from all pairs so far.

    The contract's section `shadow` names the candidate, the primary, and how much worse the candidate may be by
    each criterion. The decision may be looked at every day without more errors than stated.

    Exits with 0 (promote), 1 (hold: the candidate is worse), or 2 (insufficient: too few days, or not yet decided).

    Examples:
        barograph promote --model flight-delay
        barograph promote --model flight-delay --json
    """
    from cli.contracts import read_contract
    from cli.errors import EXIT_HOLD, EXIT_INSUFFICIENT, EXIT_OK, CommandError
    from cli.promote.show import decision_json, print_decision
    from cli.settings import load_settings
    from cli.terminal import Terminal
    from sketches.shadow.decision import Outcome
    from streams.registry.registry import build_registry
    from streams.scorer.rules import make_rules, uncountable_reason
    from warehouse.client import connect
    from warehouse.shadow.criteria import decision
    from warehouse.shadow.days import shadow_days

    settings = load_settings(config, needs=("clickhouse",))
    with connect(settings.warehouse) as client:
        contract = read_contract(client, model)
        shadow = contract.shadow
        if shadow is None:
            raise CommandError(
                f"The contract of {model} names no candidate: add `shadow` with `candidate`, `of` and `margins`, and "
                "run `barograph apply`."
            )
        reason = uncountable_reason(contract)
        if reason:
            raise CommandError(reason)
        basis = make_rules(contract, build_registry([(contract, 1)], [])).basis
        slices = shadow_days(client, model, shadow.candidate, shadow.of, basis, contract.timezone)
    if not slices:
        raise CommandError(
            f"No request of {model} version {shadow.of} has been counted: the scorer pairs them once an hour of events "
            "has ended. See `barograph status`."
        )
    decided = decision(shadow, slices)
    if as_json:
        Terminal().json(decision_json(model, shadow, slices[0], decided))
    else:
        print_decision(Terminal(), model, shadow, slices[0], decided)
    codes = {Outcome.promote: EXIT_OK, Outcome.hold: EXIT_HOLD, Outcome.insufficient: EXIT_INSUFFICIENT}
    raise typer.Exit(codes[decided.outcome])
