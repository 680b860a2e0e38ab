"""The state of a candidate at one look: its contract, daily sums and decision."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from barograph.contract import Contract, ShadowTest
from barograph.contract.file import parse_contract

from barograph_server.contracts import hint
from barograph_server.errors import CommandError
from barograph_server.plain_values import plain
from barograph_server.sketches.rollout.after_promotion import is_after_promotion
from barograph_server.sketches.rollout.criteria import decision
from barograph_server.sketches.rollout.decision import ShadowDecision
from barograph_server.sketches.rollout.mirror import judged, mirrored
from barograph_server.sketches.rollout.shadow_days import ShadowDays
from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.scorer.rules import make_rules, uncountable_reason
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.queries import ContractRow
from barograph_server.warehouse.rollouts.days import PairTotals, days_of, matured_until, read_totals


@dataclass(frozen=True, slots=True)
class CandidateTest:
    contract: Contract
    row: ContractRow
    shadow: ShadowTest
    basis: str
    """The hash of the scoring rules."""
    settings: str
    """The hash of the settings of pairs."""
    after_promotion: bool
    """Whether the primary was the candidate before, and the version that it replaced is now its shadow."""

    @property
    def model(self) -> str:
        return self.contract.model

    @property
    def judged_version(self) -> str:
        """The name of the version that the decision is about."""
        return f"version {self.shadow.of}" if self.after_promotion else "the candidate"

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters of `warehouse.rollouts.days.read_totals`."""
        return {
            "model": self.contract.model,
            "candidate": self.shadow.candidate,
            "of": self.shadow.of,
            "basis": self.basis,
            "settings": self.settings,
            "zone": self.contract.timezone,
        }


@dataclass(frozen=True, slots=True)
class CandidateEvaluation:
    """The decision about a candidate, and what it rests on."""

    test: CandidateTest
    slices: list[ShadowDays]
    """The daily sums of every slice, `all` first."""
    newest_end_s: int
    """End of the newest score window with pairs, Unix seconds."""
    matured_s: int
    """Time up to which labels are mature, Unix seconds."""
    decision: ShadowDecision
    """After a promotion, the decision about the new primary."""

    @property
    def whole(self) -> ShadowDays:
        """The daily sums of the slice `all`."""
        return self.slices[0]

    @property
    def judged(self) -> ShadowDays:
        """The daily sums of the slice `all` that the decision rests on: after a promotion, with the sides exchanged."""
        return mirrored(self.whole) if self.test.after_promotion else self.whole

    def record(self) -> dict[str, Any]:
        """Return the decision and the requests that it rests on, as JSON values without texts for people."""
        test, whole = self.test, self.whole
        return {
            "model": test.model,
            "candidate": test.shadow.candidate,
            "of": test.shadow.of,
            "after_promotion": test.after_promotion,
            "first_day": whole.days[0],
            "last_day": whole.days[-1],
            "requests": int(whole.sums["requests"].sum()),
            "pairs": int(whole.sums["pairs"].sum()),
            "missing": {reason: int(counts.sum()) for reason, counts in whole.missing.items()},
            **plain(self.decision),
        }


def read_test(client: Client, model: str, candidate: str | None = None) -> CandidateTest:
    """Read the contract in force of a model and its candidate.

    Args:
        candidate: the candidate that the caller expects; None: that of the contract.

    Raises:
        ContractError: the contract cannot be read.
    """
    history = queries.contract_history(client, model)
    if not history:
        known = [row.model for row in queries.contracts(client)]
        raise CommandError(f"ClickHouse at {client.where} has no contract of {model!r}{hint(model, known)}")
    return make_test(history[-1], history[:-1], candidate)


def make_test(row: ContractRow, earlier: Iterable[ContractRow], candidate: str | None = None) -> CandidateTest:
    """Read the candidate of an applied contract. See `read_test`.

    Args:
        earlier: the contracts of the model that were applied before, in this order.
    """
    contract = parse_contract(row.yaml, f"contract of {row.model}")
    shadow = contract.shadow
    if shadow is None:
        raise CommandError(
            f"The contract of {row.model} names no candidate: add `shadow` with `candidate`, `of` and `margins`, and "
            "run `barograph apply`."
        )
    if candidate is not None and candidate != shadow.candidate:
        raise CommandError(
            f"The candidate of {row.model} is version {shadow.candidate}, not {candidate}: change --candidate, or "
            "`shadow.candidate` in the contract."
        )
    reason = uncountable_reason(contract)
    if reason:
        raise CommandError(reason)
    rules = make_rules(contract, build_registry([(contract, 1)], []))
    applied = (each.yaml for each in (*earlier, row))
    return CandidateTest(
        contract, row, shadow, rules.basis, rules.pair_settings.hash, is_after_promotion(shadow, applied)
    )


def evaluate(client: Client, model: str, candidate: str | None = None) -> CandidateEvaluation:
    """Decide about a candidate from all pairs so far. Errors are those of `read_test`."""
    test = read_test(client, model, candidate)
    totals = read_totals(client, test.parameters)
    return evaluation_of(test, totals, matured_until(client, model, test.shadow.of))


def evaluation_of(test: CandidateTest, totals: PairTotals, matured_s: int) -> CandidateEvaluation:
    """Decide about a candidate, with labels that are mature until `matured_s` (Unix seconds)."""
    slices = days_of(totals, matured_s)
    if not slices:
        raise CommandError(
            f"No request of {test.model} version {test.shadow.of} has been counted: the scorer pairs them "
            "from the candidate's first event on, once an hour of events has ended. See `barograph status`."
        )
    decided = decision(*judged(test.shadow, slices, after_promotion=test.after_promotion))
    return CandidateEvaluation(test, slices, totals.newest_end_s, matured_s, decided)
