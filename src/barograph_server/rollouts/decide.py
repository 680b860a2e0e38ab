"""`decide` for notebooks, `barograph promote` and `barograph shadow`: the decision about a candidate or an arm."""

from dataclasses import dataclass
from pathlib import Path
from typing import overload

from barograph_server.errors import CommandError
from barograph_server.rollouts.arm import ArmEvaluation, evaluate_arm
from barograph_server.rollouts.candidate import CandidateEvaluation, evaluate
from barograph_server.rollouts.policy import PromotionPolicy, UnmetRequirement, load_policy, unmet_requirements
from barograph_server.rollouts.report import render_fragment, render_report
from barograph_server.settings import SettingsOrPath, open_settings
from barograph_server.sketches.rollout.decision import Outcome
from barograph_server.warehouse.client import connect
from barograph_server.warehouse.rollouts.pair_histograms import PairHistograms, read_histograms

PolicyOrPath = PromotionPolicy | str | Path


@dataclass(frozen=True, slots=True)
class CandidateDecision:
    """The decision about a candidate. In a notebook it shows its report."""

    evaluation: CandidateEvaluation
    unmet: tuple[UnmetRequirement, ...]
    """The requirements of the policy that are not met."""
    histograms: PairHistograms | None
    """Those of all pairs, if they were read."""

    @property
    def outcome(self) -> Outcome:
        """The outcome with the policy."""
        outcome = self.evaluation.decision.outcome
        if outcome is Outcome.promote and self.unmet:
            return Outcome.insufficient if all(each.may_pass_later for each in self.unmet) else Outcome.hold
        return outcome

    def to_html(self) -> str:
        """Return the report as one HTML page without references to other files."""
        return render_report(self.evaluation, self.histograms)

    def _repr_html_(self) -> str:
        return str(render_fragment(self.evaluation, self.histograms))


@overload
def decide(
    model: str,
    *,
    candidate: str | None = None,
    arm: None = None,
    policy: PolicyOrPath | None = None,
    with_histograms: bool = False,
    settings: SettingsOrPath = None,
) -> CandidateDecision: ...
@overload
def decide(
    model: str,
    *,
    candidate: str | None = None,
    arm: str,
    policy: PolicyOrPath | None = None,
    with_histograms: bool = False,
    settings: SettingsOrPath = None,
) -> ArmEvaluation: ...
def decide(
    model: str,
    *,
    candidate: str | None = None,
    arm: str | None = None,
    policy: PolicyOrPath | None = None,
    with_histograms: bool = False,
    settings: SettingsOrPath = None,
) -> CandidateDecision | ArmEvaluation:
    """Decide whether a candidate may replace the primary, or compare an arm of an A/B test with the control.

    Args:
        candidate: the version that the caller expects; another one is an error.
        policy: what a promotion needs beyond the decision, or the path of its file.
        with_histograms: whether to read the histograms of the report: errors, hours and ranks of latency.

    Raises:
        ContractError: the contract or the policy cannot be read.
    """
    if arm is not None:
        if candidate is not None or policy is not None:
            raise CommandError("--candidate and --policy are about candidates: leave them out with --arm.")
        with connect(open_settings(settings, needs=("clickhouse",)).warehouse) as client:
            return evaluate_arm(client, model, arm)
    if policy is None:
        rules = PromotionPolicy()
    else:
        rules = policy if isinstance(policy, PromotionPolicy) else load_policy(Path(policy))
    with connect(open_settings(settings, needs=("clickhouse",)).warehouse) as client:
        evaluation = evaluate(client, model, candidate)
        histograms = read_histograms(client, evaluation.test.parameters) if with_histograms else None
    test = evaluation.test
    unmet = unmet_requirements(rules, test.shadow.margins, evaluation.judged, evaluation.decision, test.judged_version)
    return CandidateDecision(evaluation, tuple(unmet), histograms)
