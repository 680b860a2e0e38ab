"""Promotions: what a contract requires before it changes its serving version.

With `promotion: required` this is evidence about the new version beside the old one, with `suites` an accepted run of
the new version in each of these evaluation suites. A reason and a name override both.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from barograph.contract import Contract

from barograph_server.errors import ApplyError
from barograph_server.provisioning.catalogue import Catalogue, ContractChange
from barograph_server.rollouts.candidate import evaluate
from barograph_server.rollouts.decision_text import outcome_text
from barograph_server.rollouts.evidence.verify import Verification, verify_bundle
from barograph_server.sketches.rollout.decision import Outcome
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.evaluation.eval_runs import accepted_runs
from barograph_server.warehouse.tables import insert_rows

UNUSED_GROUNDS = (
    "--evidence, --override and --author are not needed: no contract with promotion: required or suites changes its "
    "serving version."
)


@dataclass(frozen=True, slots=True)
class PromotionGrounds:
    """What `apply` was given to justify promotions."""

    bundles: Sequence[Path] = ()
    override_reason: str = ""
    override_by: str = ""

    def __bool__(self) -> bool:
        return bool(self.bundles or self.override_reason or self.override_by)


@dataclass(frozen=True, slots=True)
class Promotion:
    """A change of the serving version that needs evidence or accepted runs, or the removal of such a requirement."""

    contract: Contract
    old: Contract
    """The contract in force, whose requirements apply."""
    evidence: str = ""
    """Digest of the bundle that justifies it."""
    eval_runs: tuple[str, ...] = ()
    """Accepted runs of suites that justify it."""
    override_reason: str = ""
    override_by: str = ""

    @property
    def needs_evidence(self) -> bool:
        return self.old.promotion == "required"

    @property
    def removed(self) -> tuple[str, ...]:
        """The requirements of the contract in force that the new contract no longer has."""
        evidence = ("promotion: required",) if self.needs_evidence and self.contract.promotion != "required" else ()
        suites = (f"suites: {each}" for each in self.old.suites if each not in self.contract.suites)
        return (*evidence, *suites)

    @property
    def text(self) -> str:
        if self.removed:
            return f"{self.contract.model} no longer has {', '.join(self.removed)}"
        return f"version {self.contract.serving} replaces version {self.old.serving} of {self.contract.model}"


def find_promotions(changes: Iterable[ContractChange], stored: Catalogue) -> list[Promotion]:
    """Return the changes that need evidence or accepted runs."""
    result = []
    for change in changes:
        _, old = stored.contracts.get(change.contract.model, ("", None))
        if old is None or not (old.promotion == "required" or old.suites):
            continue
        promotion = Promotion(change.contract, old)
        if promotion.removed or change.contract.serving != old.serving:
            result.append(promotion)
    return result


def justify_promotions(
    client: Client, promotions: Sequence[Promotion], stored: Catalogue, grounds: PromotionGrounds
) -> list[Promotion]:
    """Verify the evidence for promotions and look up the accepted runs, and return them with both.

    Raises:
        ApplyError: a promotion has neither what it needs nor a reason, both are given, or a bundle does not justify it.
        BundleError: a bundle was changed.
    """
    if grounds.override_reason or grounds.override_by:
        reason, name = " ".join(grounds.override_reason.split()), " ".join(grounds.override_by.split())
        if not reason or not name:
            raise ApplyError("--override needs a reason and --author a name: give both.")
        if grounds.bundles:
            raise ApplyError("--override applies without evidence: leave it out, or leave out --evidence.")
        return [replace(each, override_reason=reason, override_by=name) for each in promotions]
    verified = [(path, verify_bundle(client, path)) for path in grounds.bundles]
    return [_justified(client, each, verified, stored) for each in promotions]


def store_promotions(client: Client, promotions: Iterable[Promotion], applied_ms: int) -> None:
    """Store promotions; `applied_ms` is the current time in Unix milliseconds."""
    rows = [
        {
            "model": each.contract.model,
            "contract_id": each.contract.id,
            "replaced": each.old.serving,
            "serving": each.contract.serving,
            "evidence": each.evidence,
            "eval_runs": list(each.eval_runs),
            "override_reason": each.override_reason,
            "override_by": each.override_by,
            "applied_at": applied_ms,
        }
        for each in promotions
    ]
    insert_rows(client, "promotions", rows)


def _justified(
    client: Client, promotion: Promotion, verified: Sequence[tuple[Path, Verification]], stored: Catalogue
) -> Promotion:
    if promotion.removed:
        raise ApplyError(
            f"Refused: {promotion.text}. Keep the key, or give --override REASON and --author NAME, which are stored."
        )
    evidence = _evidence(client, promotion, verified, stored) if promotion.needs_evidence else ""
    return replace(promotion, evidence=evidence, eval_runs=_accepted_runs(client, promotion))


def _accepted_runs(client: Client, promotion: Promotion) -> tuple[str, ...]:
    """Return the accepted run of the new version in each suite that the contract in force names."""
    model, version, suites = promotion.contract.model, promotion.contract.serving, promotion.old.suites
    runs = accepted_runs(client, model, version) if suites else {}
    missing = ", ".join(suite for suite in suites if suite not in runs)
    if missing:
        raise ApplyError(
            f"Refused: {promotion.text}, and no accepted run of version {version} is stored for the suites that its "
            f"contract names: {missing}. Run and import them (`barograph eval import`), and accept them with "
            f"`barograph eval gate --model {model} --candidate {version} --policy FILE --accept`. To apply without, "
            "give --override REASON and --author NAME, which are stored."
        )
    return tuple(runs[suite] for suite in suites)


def _evidence(
    client: Client, promotion: Promotion, verified: Sequence[tuple[Path, Verification]], stored: Catalogue
) -> str:
    """Return the digest of the bundle that justifies a promotion."""
    model = promotion.contract.model
    problems = []
    for path, verification in verified:
        problem = _problem(client, promotion, verification, stored.contracts[model][0])
        if not problem:
            return verification.bundle.digest
        problems.append(f" {path}: {problem}.")
    raise ApplyError(
        f"Refused: {promotion.text}, and its contract has promotion: required.{''.join(problems)} Once "
        f"`barograph promote --model {model}` decides for version {promotion.contract.serving}, give the bundle of "
        f"`barograph shadow export --model {model}` with --evidence. "
        "To apply without evidence, give --override REASON and --author NAME, which are stored."
    )


def _problem(client: Client, promotion: Promotion, verification: Verification, contract_id: str) -> str:
    """Return why a verified bundle does not justify a promotion; empty if it does.

    Evidence after a promotion justifies a roll back. Evidence stays valid while more days arrive, until they decide
    for the other version.
    """
    if not verification.is_equal:
        return (*verification.differences, *verification.obstacles)[0]
    assert verification.evaluation is not None
    test, decided = verification.evaluation.test, verification.evaluation.decision
    versions = (test.model, test.shadow.candidate, test.shadow.of)
    if versions != (promotion.contract.model, promotion.contract.serving, promotion.old.serving):
        return f"it is about version {test.shadow.candidate} beside version {test.shadow.of} of {test.model}"
    if test.row.contract_id != contract_id:
        return f"it was judged by the contract {test.row.contract_id}, but {contract_id} is in force"
    needed, opposite = Outcome.promote, Outcome.hold
    if test.after_promotion:
        needed, opposite = opposite, needed
    texts = {each: outcome_text(test.shadow, each, after_promotion=test.after_promotion) for each in Outcome}
    if decided.outcome is not needed:
        return f"its decision is {texts[decided.outcome]}, not {texts[needed]}"
    if evaluate(client, test.model).decision.outcome is opposite:
        return f"with the days since the export, the decision is {texts[opposite]}"
    return ""
