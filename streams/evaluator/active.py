"""The evaluators in force: built from contracts and files, and rebuilt when either changes."""

import contextlib
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from barograph.contract import Contract
from barograph.contract.evaluator_contracts import evaluator_model
from barograph.contract.evaluators import Evaluator, EvaluatorBudget

from barograph_server.streams.evaluator.anchors import AnchorSet, read_anchors
from barograph_server.streams.evaluator.answer import Answer
from barograph_server.streams.evaluator.check_evaluators import Check, SetupError, build_check, document_files
from barograph_server.streams.evaluator.evaluation import Evaluation, NoResult, failed
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.runtime.backoff import RetryInterrupted

HOUR_S = 3600.0
BURST_S = 300.0
"""An unused budget adds up over this time: five minutes' worth can be used at once."""


class HourlyBudget:
    """Calls, tokens and US dollars that become available evenly.

    Traffic beyond the budget is skipped all through the hour, not from the minute in which the budget is used up: so
    the evaluated answers are a sample of the hour. A call may overdraw tokens and dollars, which are known afterwards.
    """

    def __init__(self, budget: EvaluatorBudget, monotonic: Callable[[], float] = time.monotonic) -> None:
        limits = {"calls": budget.calls, "tokens": budget.tokens, "usd": budget.usd}
        self._per_s = {name: limit / HOUR_S for name, limit in limits.items() if limit is not None}
        self._monotonic = monotonic
        self._at_s = monotonic()
        self._most = {name: max(rate * BURST_S, float(name == "calls")) for name, rate in self._per_s.items()}
        self._available = dict(self._most)
        self._lock = threading.Lock()

    def take_call(self) -> bool:
        """Take one call; False if the budget does not allow it."""
        with self._lock:
            self._refill()
            if any(available < (1.0 if name == "calls" else 0.0) for name, available in self._available.items()):
                return False
            if "calls" in self._available:
                self._available["calls"] -= 1.0
            return True

    def charge(self, used: Mapping[str, float]) -> None:
        """Subtract what a call used: `tokens`, `usd`, and `calls` beyond the first."""
        with self._lock:
            for name, amount in used.items():
                if name in self._available:
                    self._available[name] -= amount

    def _refill(self) -> None:
        now_s = self._monotonic()
        passed_s, self._at_s = max(0.0, now_s - self._at_s), now_s
        for name, rate in self._per_s.items():
            self._available[name] = min(self._most[name], self._available[name] + rate * passed_s)


NO_VERSION = "none"
"""The version of evaluations without a result because the evaluator could not be set up."""
FILES_S = 5.0
"""How often files are looked at for changes, in seconds."""
BuildJudge = Callable[[Evaluator, Path], tuple[Check, str]]
"""Builds a judge, and returns it with its version; raises `SetupError`."""


@dataclass(slots=True)
class ActiveEvaluator:
    """One evaluator, ready to run."""

    contract: Contract
    """Of the answering model."""
    name: str
    version: str
    check: Check
    budget: HourlyBudget
    anchors: AnchorSet | None = None
    """None: the contract names none, or they cannot be read, which the log says."""

    @property
    def settings(self) -> Evaluator:
        """The evaluator in the contract."""
        return self.contract.evaluators[self.name]

    @property
    def is_judge(self) -> bool:
        """Whether it calls an endpoint."""
        return self.settings.kind == "judge"

    @property
    def model(self) -> str:
        """The model of its evaluations."""
        return evaluator_model(self.contract.model, self.name)

    def share(self, answer: Answer) -> float:
        """Return the probability with which an answer is chosen."""
        settings, context = self.settings, answer.context
        shares = [settings.prompts[prompt]] if (prompt := context.get("prompt", "")) in settings.prompts else []
        if settings.slices:
            members = {each.name: each.source.partition(".")[2] for each in self.contract.slices}
            for key, share in settings.slices.items():
                name, _, value = key.partition("=")
                if context.get(members.get(name, "")) == value:
                    shares.append(share)
        return max(shares, default=settings.share)

    def evaluate(self, answer: Answer) -> Evaluation:
        """Evaluate an answer for which a call was taken from the budget, and charge what the evaluation used."""
        try:
            evaluation = self.check(answer)
        except RetryInterrupted:
            raise
        except Exception as error:
            # One answer must not stop all evaluators. The error's text may quote the answer, so it is not logged.
            position = traceback.extract_tb(error.__traceback__)[-1]
            structlog.get_logger().bind(processor="evaluator").error(
                "evaluation failed",
                model=self.model,
                id=answer.id,
                error=type(error).__name__,
                position=f"{Path(position.filename).name}:{position.lineno}",
            )
            evaluation = failed(NoResult.INTERNAL)
        used = evaluation.metrics
        tokens = used.get("input_tokens", 0.0) + used.get("output_tokens", 0.0)
        # One call was taken before; an answer that needed none gives it back.
        calls = used.get("calls", 0.0) - 1.0
        self.budget.charge({"tokens": tokens, "usd": used.get("cost_usd", 0.0), "calls": calls})
        return evaluation


class ActiveEvaluators:
    """The evaluators of all models with a section `evaluators`."""

    def __init__(
        self,
        registry: Callable[[], Registry],
        folder: Path,
        build_judge: BuildJudge,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Describe the source of evaluators; nothing is read before `refresh`."""
        self._registry, self._folder, self._build_judge, self._monotonic = registry, folder, build_judge, monotonic
        self._files: list[tuple[str, int, int]] = []
        self._files_at_s = -FILES_S
        self._log = structlog.get_logger().bind(processor="evaluator")
        self.by_model: dict[str, tuple[ActiveEvaluator, ...]] = {}
        """Model → its evaluators, in the order of the contract."""

    def contract(self, model: str) -> Contract | None:
        """Return the contract of a model, which may have no evaluators any more."""
        return self._registry().contracts.get(model)

    def refresh(self) -> None:
        """Rebuild what changed."""
        files_changed = self._find_files()
        contracts = {model: each for model, each in self._registry().contracts.items() if each.evaluators}
        self.by_model = {
            model: self.by_model[model]
            if not files_changed and model in self.by_model and self.by_model[model][0].contract == contract
            else self._build_all(contract)
            for model, contract in contracts.items()
        }

    def _find_files(self) -> bool:
        now_s = self._monotonic()
        if now_s - self._files_at_s < FILES_S:
            return False
        self._files_at_s = now_s
        files = []
        evaluators = [each for contract in self._registry().contracts.values() for each in contract.evaluators.values()]
        for path in sorted({path for evaluator in evaluators for path in _files_of(evaluator, self._folder)}):
            try:
                status = path.stat()
            except OSError:
                continue
            files.append((str(path), status.st_mtime_ns, status.st_size))
        changed, self._files = files != self._files, files
        return changed

    def _build_all(self, contract: Contract) -> tuple[ActiveEvaluator, ...]:
        previous = {each.name: each for each in self.by_model.get(contract.model, ())}
        return tuple(self._build(contract, name, previous.get(name)) for name in contract.evaluators)

    def _build(self, contract: Contract, name: str, previous: ActiveEvaluator | None) -> ActiveEvaluator:
        evaluator = contract.evaluators[name]
        log = self._log.bind(model=contract.model, evaluator=name)
        try:
            check, version = build_evaluator(contract, name, self._folder, self._build_judge)
        except SetupError as error:
            log.error("evaluator cannot be used", reason=str(error))
            check, version = _no_result, NO_VERSION
        else:
            log.info("evaluator", version=version)
        keeps_budget = previous is not None and previous.settings.budget == evaluator.budget
        budget = (
            previous.budget
            if previous is not None and keeps_budget
            else HourlyBudget(evaluator.budget, self._monotonic)
        )
        anchors = None
        if evaluator.anchors and version != NO_VERSION:
            try:
                anchors = read_anchors(self._folder / evaluator.anchors)
            except SetupError as error:
                log.error("anchors cannot be used: drift of the judge is not tested", reason=str(error))
        return ActiveEvaluator(contract, name, version, check, budget, anchors)


def build_evaluator(contract: Contract, name: str, folder: Path, build_judge: BuildJudge) -> tuple[Check, str]:
    """Build an evaluator of a contract, and return it with its version.

    Raises:
        SetupError: it cannot be used.
    """
    evaluator = contract.evaluators[name]
    if evaluator.kind == "judge":
        return build_judge(evaluator, folder)
    return build_check(evaluator, folder, () if contract.text is None else contract.text.languages)


def _files_of(evaluator: Evaluator, folder: Path) -> list[Path]:
    files = [folder / name for name in (evaluator.judge, evaluator.schema, evaluator.anchors) if name]
    if evaluator.documents:
        with contextlib.suppress(SetupError):
            files += document_files(folder / evaluator.documents)
    return files


def _no_result(answer: Answer) -> Evaluation:
    return failed(NoResult.SETUP_FAILED)
