"""Entry point of the OTLP receiver's process."""

import gc
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import repeat
from typing import Any

import msgspec
import structlog
from barograph.contract import Contract
from barograph.pricing import TokenCounts, cost, price_of
from barograph.publisher.outbox import Outbox, kafka_settings
from barograph.publisher.pii import PiiKeyError, read_text_key
from barograph.text.codebook import Codebook, parse_codebook
from barograph.text.errors import TextError
from barograph.text.features import GenerationText, TextObserver, check_embedding

from barograph_server.streams.broker.acl import require_acls
from barograph_server.streams.broker.consumer_lag import SourceTopic
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.events.event_time import DAY_MS
from barograph_server.streams.otlp.contract_privacy import ContractPrivacy
from barograph_server.streams.otlp.conventions import load_conventions
from barograph_server.streams.otlp.grpc_endpoint import GrpcEndpoint
from barograph_server.streams.otlp.http_endpoint import OtlpEndpoint
from barograph_server.streams.otlp.ingest import Ingest
from barograph_server.streams.otlp.model_call import AUDIO, ModelCall
from barograph_server.streams.otlp.receiver import QUEUE_BYTES, QUEUE_MESSAGES, Receiver
from barograph_server.streams.otlp.rejection import ValueReason
from barograph_server.streams.otlp.settings import OtlpSettings
from barograph_server.streams.otlp.topic_reader import GROUP, OtlpTopicReader
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.run import ProcessorServices, run_processor
from barograph_server.streams.runtime.lifecycle import ShutdownSignal
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import ProcessorSettings

TICK_S = 0.5
FLUSH_S = 4.0
"""How long a stop waits until Kafka has acknowledged the queue."""


def run_otlp(settings: ProcessorSettings, otlp: OtlpSettings) -> int:
    """Run an OTLP receiver until SIGTERM or SIGINT; return the exit code."""

    def work(services: ProcessorServices, shutdown: ShutdownSignal) -> None:
        registry = services.registry
        make_ingest = partial(
            Ingest,
            load_conventions(),
            otlp,
            retention_ms=settings.retention_days * DAY_MS,
            steps=(
                ContractCosts(registry).add_cost,
                FeedbackClass(registry).set_class,
                ContractPrivacy(registry).protect,
            ),
            text=ContractText(registry),
            has_contract=lambda model: model in registry().contracts,
        )
        topics = otlp.encodings()
        if topics:
            require_acls(settings, "otlp")
            ingest = make_ingest(producer=None, seq=repeat(None))
            reader = OtlpTopicReader(settings, otlp, ingest, services.report)
            services.run(reader, GROUP, [SourceTopic(name, "spans") for name in topics], shutdown)
            return
        require_acls(settings, "otlp-http")
        receive(settings, otlp, make_ingest, services.report, shutdown.requested)

    return run_processor("otlp", settings, work)


def receive(
    settings: ProcessorSettings,
    otlp: OtlpSettings,
    make_ingest: Callable[..., Ingest],
    report: Report,
    stop: threading.Event,
) -> None:
    """Receive exports until `stop` is set, and publish predictions."""
    log = structlog.get_logger().bind(processor="otlp", instance=settings.instance)
    outbox = Outbox(
        {
            **kafka_settings(settings.bootstrap_servers, "drop", QUEUE_MESSAGES, QUEUE_BYTES),
            "client.id": f"barograph-otlp-{settings.instance}",
            # Never give up: the queue is bounded, and exporters keep what does not fit.
            "message.timeout.ms": 0,
            # Answers wait for Kafka, and exporters for answers.
            "linger.ms": 5,
            **settings.kafka,
        },
        wait=False,
    )
    ingest = make_ingest(producer=outbox.producer_id, seq=outbox.seq)
    receiver = Receiver(ingest, outbox, settings.topics.predictions, report)
    endpoint = OtlpEndpoint(receiver, otlp)
    # What exists now lives as long as the process; the garbage collector need not visit it at each request.
    gc.collect()
    gc.freeze()
    endpoints: list[OtlpEndpoint | GrpcEndpoint] = [endpoint]
    endpoint.start()
    try:
        if otlp.grpc_port:
            endpoints.append(GrpcEndpoint(endpoint, receiver, otlp))
        log.info("receiving", address=f"{otlp.host}:{endpoint.port}", grpc_port=otlp.grpc_port)
        while not stop.wait(TICK_S):
            if not all(each.is_alive for each in endpoints):
                raise ProcessorError("The server of HTTP or gRPC ended. Restart the processor.")
            receiver.tick()
            endpoint.give_back_memory()
            if receiver.is_full:
                report.heartbeat.blocked("The queue to Kafka is full; exporters keep what they send.")
            else:
                report.heartbeat.unblocked()
            report.heartbeat.beat()
    finally:
        # Requests whose calls wait are acknowledged before the server stops.
        receiver.release()
        for each in reversed(endpoints):
            each.stop()
        lost = receiver.stop(FLUSH_S)
        if lost:
            log.warning(
                "predictions not published",
                messages=lost,
                reason="Kafka did not acknowledge them before the stop; their exporters have no answer and send again",
            )


COST = "cost_usd"


class ContractCosts:
    """Adds the cost to predictions whose instrumentation reports none."""

    def __init__(self, registry: Callable[[], Registry]) -> None:
        self._registry = registry

    def add_cost(self, prediction: Any) -> tuple[str, ValueReason] | None:
        """Set `metrics.cost_usd` of a prediction (`QuickPrediction`) in place.

        It does not change if it has a cost, if no price matches, or if tokens that have a price were not observed.
        Tokens that an instrumentation estimated have other names, so that no cost is computed from them.

        Returns:
            Why there is no cost although the call has tokens, if that is not that no price matches.
        """
        contract = self._registry().contracts.get(prediction.model)
        metrics = prediction.metrics
        if contract is None or not contract.prices or not metrics or COST in metrics:
            return None
        tokens: Any = {name: metrics[name] for name in TokenCounts.__annotations__ if name in metrics}
        at = datetime.fromtimestamp(prediction.at / 1000, UTC)
        tier = (prediction.context or {}).get("service_tier")
        amount = cost(contract, prediction.version, **tokens, service_tier=tier, at=at)
        price = price_of(contract, prediction.version, at)
        if amount is None:
            has_no_price = price is not None and (tier or any(map(tokens.get, AUDIO)))
            return (COST, ValueReason.NO_PRICE) if has_no_price else None
        if price is not None and (price.cached_input or price.cache_write) and "cached_input_tokens" not in tokens:
            trust = load_conventions().trust_of((prediction.context or {}).get("instrumentation", ""))
            if trust is not None and trust.cached == "not reported":
                return COST, ValueReason.NO_CACHED_TOKENS
        prediction.metrics = {**metrics, COST: amount}
        return None


CONTENT = "true"
"""What each answer claims: that the user is content."""


class FeedbackClass:
    """Sets the class of predictions whose contract has a `bool` label, with which labels of users are compared.

    Accuracy is then the share of true labels.
    """

    def __init__(self, registry: Callable[[], Registry]) -> None:
        self._registry = registry

    def set_class(self, prediction: Any) -> None:
        """Set the class of a prediction (`QuickPrediction`) in place, unless the call failed."""
        contract = self._registry().contracts.get(prediction.model)
        has_feedback = contract is not None and contract.label is not None and contract.label.type == "bool"
        if has_feedback and prediction.error is None:
            prediction.class_ = CONTENT


class ContractText:
    """Computes what predictions contain of texts; a part that cannot be computed is left out and logged once."""

    def __init__(self, registry: Callable[[], Registry]) -> None:
        """Start without contracts; `registry` returns those in force, with their codebooks."""
        self._registry = registry
        self._observers: dict[str, tuple[Contract, bytes | None, TextObserver | None]] = {}
        """Model → its contract, the codebook that it names, and what observes its texts."""
        self._log = structlog.get_logger().bind(processor="otlp")

    def reads(self, model: str) -> bool:
        """Return whether text of a model's calls is read."""
        contract = self._registry().contracts.get(model)
        return contract is not None and contract.text is not None

    def observe(self, model: str, calls: Sequence[ModelCall]) -> None:
        """Set `observed` of the calls that have text, all embedded at once, if the contract says so."""
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
