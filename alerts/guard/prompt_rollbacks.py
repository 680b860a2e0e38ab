"""Rolls prompts back for contracts with `rollback: {mode: act}`, as the leading guard does.

The scorer writes proposals; a thread of the guard moves the label with the function that `barograph prompts rollback`
uses. What is in Kafka decides (`streams.prompts.proposed_rollback`), and a writer of the topic fences the others. So a
guard that was killed, paused or replaced at any step neither loses a proposal nor acts on it twice.
"""

from collections.abc import Callable, Mapping, Sequence
from threading import Event

import structlog
from barograph.contract import Contract
from barograph.prompts.catalogue import PromptCatalogue
from barograph.prompts.records import PromptLabel

from barograph_server.alerts.guard.background_task import BackgroundTask
from barograph_server.streams.prompts.changes import Author
from barograph_server.streams.prompts.proposed_rollback import decide_rollback
from barograph_server.streams.prompts.registry_change import PromptLog, change_registry
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import Address, Client
from barograph_server.warehouse.errors import WarehouseError
from barograph_server.warehouse.rollouts.prompts import store_missing
from barograph_server.warehouse.rollouts.rollback_proposals import RollbackProposal, read_proposals

AUTHOR = "guard"
"""Who makes the change, in the log of changes."""
CHECK_S = 5.0
"""Pause between checks for proposals, in seconds."""


class PromptRollbacks:
    """Acts on proposals while its guard leads."""

    def __init__(
        self,
        settings: ProcessorSettings,
        on_change: Callable[[str], None],
        connect_to: Callable[[Address], Client],
        clock: Callable[[], float],
    ) -> None:
        """Start nothing.

        Args:
            on_change: receives a sentence for each proposal that was acted on or needs no action.
        """
        self._settings, self._on_change, self._connect, self._clock = settings, on_change, connect_to, clock
        self._settled: set[tuple[object, ...]] = set()
        """Proposals that were decided under the present contracts."""
        self._contracts: dict[str, str] = {}
        self._log = structlog.get_logger().bind(processor="guard", instance=settings.instance)

    def task(self) -> BackgroundTask:
        """Return the task that acts on new proposals of the contracts with the mode `act`."""
        return BackgroundTask("rollbacks of prompts", CHECK_S, self._clock, self._work)

    def _work(self, contracts: Mapping[str, Contract], _: Event) -> None:
        acting = {name: each for name, each in contracts.items() if each.rollback and each.rollback.mode == "act"}
        if acting:
            self.check(acting)

    def check(self, contracts: Mapping[str, Contract]) -> None:
        """Act on the proposals for contracts with the mode `act`, by model, that are not settled."""
        ids = {model: each.id for model, each in contracts.items()}
        if ids != self._contracts:
            self._settled, self._contracts = set(), ids
        with self._connect(self._settings.warehouse) as client:
            unsettled = [each for each in read_proposals(client, mode="act") if each.key not in self._settled]
            due = [each for each in unsettled if self._is_asked_for(contracts.get(each.model), each)]
            if not due:
                return
            log = PromptLog(self._settings)
            catalogue = log.read()
            # A guard that was killed after it wrote to Kafka has left rows for this one.
            store_missing(client, log.records)
        for proposal in due:
            self._settle(catalogue, proposal)

    def _is_asked_for(self, contract: Contract | None, proposal: RollbackProposal) -> bool:
        """Return whether a contract still asks for a rollback; if not, log it and settle the proposal."""
        problem = _contract_problem(contract, proposal)
        if problem:
            self._log.warning("proposed rollback skipped", model=proposal.model, arm=proposal.arm, reason=problem)
            self._settled.add(proposal.key)
        return not problem

    def _settle(self, catalogue: PromptCatalogue, proposal: RollbackProposal) -> None:
        author = Author(AUTHOR, int(self._clock() * 1000))
        decision = decide_rollback(catalogue, proposal, author)
        if decision.change is not None:

            def plan(present: PromptCatalogue, author: Author) -> Sequence[PromptLabel]:
                nonlocal decision
                decision = decide_rollback(present, proposal, author)
                return () if decision.change is None else (decision.change,)

            outcome = change_registry(self._settings, plan, author, lambda: self._connect(self._settings.warehouse))
            if outcome.failure:
                # The change holds; the next check adds the rows.
                self._on_change(decision.text)
                raise WarehouseError(outcome.failure)
        self._on_change(decision.text)
        self._settled.add(proposal.key)


def _contract_problem(contract: Contract | None, proposal: RollbackProposal) -> str:
    """Return why the contract no longer asks for this rollback; empty if it does."""
    if contract is None or contract.rollback is None or contract.arms is None:
        return "no contract of the model has a rollback with mode act"
    rollback, (control, *others) = contract.rollback, contract.arms.names
    if (rollback.prompt, rollback.label) != (proposal.prompt, proposal.label):
        return f"the contract moves {rollback.prompt}:{rollback.label}, not {proposal.prompt}:{proposal.label}"
    if proposal.control != control:
        return f"the contract compares with {control}, not with {proposal.control}"
    return "" if proposal.arm in others else f"the contract has no arm {proposal.arm}"
