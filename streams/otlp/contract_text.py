"""Features and content of text in predictions from telemetry, as the contract of their model says."""

from collections.abc import Callable, Sequence

import msgspec
import structlog
from barograph.contract import Contract
from barograph.publisher.pii import PiiKeyError, read_text_key
from barograph.text.codebook import Codebook, parse_codebook
from barograph.text.errors import TextError
from barograph.text.features import GenerationText, TextObserver, check_embedding

from barograph_server.streams.otlp.model_call import ModelCall
from barograph_server.streams.registry.registry import Registry


class ContractText:
    """Computes what predictions contain of texts; a part that cannot be computed is left out and logged once."""

    def __init__(self, registry: Callable[[], Registry]) -> None:
        """Start without contracts.

        Args:
            registry: returns the contracts in force, and their codebooks.
        """
        self._registry = registry
        self._observers: dict[str, tuple[Contract, bytes | None, TextObserver | None]] = {}
        """Model → its contract, the codebook that it names, and what observes its texts."""
        self._log = structlog.get_logger().bind(processor="otlp")

    def reads(self, model: str) -> bool:
        """Return whether text of a model's calls is read."""
        contract = self._registry().contracts.get(model)
        return contract is not None and contract.text is not None

    def observe(self, model: str, calls: Sequence[ModelCall]) -> None:
        """Set `observed` of calls that have text, if the contract says so.

        Args:
            calls: the calls, whose texts are embedded at once.
        """
        contract = self._registry().contracts.get(model)
        observer = None if contract is None or contract.text is None else self._observer(contract)
        if observer is None:
            return
        with_text = [(call, call.text) for call in calls if call.text is not None]
        observed = observer.observe_all([GenerationText(call.event_id, *text) for call, text in with_text])
        for (call, _), each in zip(with_text, observed, strict=True):
            call.observed = each

    def _observer(self, contract: Contract) -> TextObserver | None:
        assert contract.text is not None
        known, codebook = self._observers.get(contract.model), self._registry().codebooks.get(contract.text.codebook)
        # Another contract's change makes new objects of all contracts.
        if known is None or known[1] != codebook or (known[0] is not contract and known[0] != contract):
            known = self._observers[contract.model] = contract, codebook, self._build(contract)
        return known[2]

    def _build(self, contract: Contract) -> TextObserver | None:
        log = self._log.bind(model=contract.model)
        try:
            codebook = self._codebook(contract)
        except TextError as error:
            codebook = None
            log.warning("topics are left out", reason=str(error))
        assert contract.text is not None
        try:
            read_text_key(contract)
        except PiiKeyError as error:
            text = msgspec.structs.replace(contract.text, content="drop")
            contract = msgspec.structs.replace(contract, text=text)
            log.warning("hashes of text are left out", reason=str(error))
        try:
            return TextObserver(contract, codebook)
        except TextError as error:
            log.warning("features of text are left out", reason=str(error))
            return None

    def _codebook(self, contract: Contract) -> Codebook | None:
        """Return the codebook that a contract names; None if it names none.

        Raises:
            TextError: it is not stored, cannot be read, or has another embedding.
        """
        assert contract.text is not None
        codebook_id = contract.text.codebook
        if not codebook_id:
            return None
        data = self._registry().codebooks.get(codebook_id)
        if data is None:
            raise TextError(f"the codebook {codebook_id} is not stored; run `barograph apply` with its file")
        codebook = parse_codebook(data, f"codebook {codebook_id}")
        if codebook.id != codebook_id:
            raise TextError(f"the codebook {codebook_id} is damaged: its content has the id {codebook.id}")
        check_embedding(codebook)
        return codebook
