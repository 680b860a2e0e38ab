"""What a proposal to roll a prompt back leads to, given what is registered now. Without I/O.

A change is possible only if the label points to the version that does harm, and has done so since before the end of the
evidence. So one piece of evidence moves a label at most once, and never undoes a later decision of a person.
"""

from dataclasses import dataclass

from barograph.contract import PREVIOUS
from barograph.prompts.catalogue import PromptCatalogue
from barograph.prompts.records import PromptLabel

from barograph_server.streams.prompts.changes import Author, PromptChangeError, find_version, require_name, roll_back
from barograph_server.warehouse.rollouts.rollback_proposals import RollbackProposal


@dataclass(frozen=True, slots=True)
class RollbackDecision:
    """What to do about a proposal."""

    change: PromptLabel | None
    """The change; None if there is none."""
    text: str
    """What happens, or why nothing does."""


def decide_rollback(catalogue: PromptCatalogue, proposal: RollbackProposal, author: Author) -> RollbackDecision:
    """Decide about a proposal."""
    name, label = proposal.prompt, proposal.label
    try:
        require_name(catalogue, name)
        current = catalogue.label(name, label)
        if current is None:
            return _nothing(proposal, f"{name} has no label {label}")
        if current.version != proposal.version:
            return _nothing(proposal, f"{name}:{label} points to version {current.version}")
        if current.changed_at_ms > proposal.at.timestamp() * 1000:
            return _nothing(
                proposal, f"{current.changed_by or 'someone'} changed {name}:{label} after the hours of the evidence"
            )
        target = None
        if proposal.target != PREVIOUS:
            target = find_version(catalogue, name, proposal.target).version
        change = roll_back(catalogue, name, label, target, author, proposal.reason)
    except PromptChangeError as error:
        return _nothing(proposal, str(error).removesuffix("."))
    if change is None:
        problem = (
            f"{name}:{proposal.target} points to version {proposal.version} too"
            if target is not None
            else f"{name}:{label} came to version {proposal.version} by a rollback, so the version before is no target"
        )
        return _nothing(proposal, problem)
    return RollbackDecision(change, f"{name}:{label} {change.previous} → {change.version}: {proposal.reason}.")


def _nothing(proposal: RollbackProposal, problem: str) -> RollbackDecision:
    return RollbackDecision(
        None, f"The proposal to roll {proposal.prompt}:{proposal.label} back changes nothing: {problem}."
    )
