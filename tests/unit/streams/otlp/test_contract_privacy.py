"""What the receiver publishes of people's ids, and what it says about models without a contract."""

from __future__ import annotations

from typing import Any

import pytest
import structlog
from barograph import Contract
from barograph.contract import Arms, Field, Slice
from barograph.values import QuickPrediction

from streams.otlp.contract_privacy import ContractPrivacy
from streams.registry.registry import Registry
from tests.support.otlp import exports, make_ingest, predictions

USER = Field(name="customer", type="category", source="context.user", pii="hash")


def protected(contract: Contract | None, model: str = "bot") -> dict[str, str] | None:
    registry = Registry() if contract is None else Registry(contracts={contract.model: contract})
    prediction = QuickPrediction(model, "1", "a", 0, context={"user": "ana", "session": "s", "prompt": "answer@1"})
    ContractPrivacy(lambda: registry).protect(prediction)
    context: dict[str, str] | None = prediction.context
    return context


@pytest.mark.parametrize(
    ("contract", "names"),
    [
        (None, set()),
        (Contract(model="bot"), set()),
        (Contract(model="bot", slices=(Slice(name="session", source="context.session"),)), {"session"}),
        (Contract(model="bot", user="context.user"), {"user"}),
        (Contract(model="bot", arms=Arms(shares={"a": 0.5, "b": 0.5}, unit="context.user")), {"user"}),
    ],
)
def test_ids_of_people_are_published_only_for_contracts_that_name_them(
    contract: Contract | None, names: set[str]
) -> None:
    context = protected(contract)
    assert context is not None
    assert context.keys() == {"prompt", *names}


def test_ids_of_people_are_hashed_as_the_contract_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAROGRAPH_PII_KEY", "0123456789abcdef")
    context = protected(Contract(model="bot", fields=(USER,)))
    assert context is not None
    assert "ana" not in context["user"]
    assert len(context["user"]) > 30
    monkeypatch.delenv("BAROGRAPH_PII_KEY")
    context = protected(Contract(model="bot", fields=(USER,)))
    assert context == {"prompt": "answer@1"}


def test_a_prediction_without_other_context_has_none() -> None:
    prediction = QuickPrediction("bot", "1", "a", 0, context={"user": "ana"})
    ContractPrivacy(Registry).protect(prediction)
    assert prediction.context is None


def test_ids_of_people_in_golden_files_do_not_pass_without_a_contract() -> None:
    ingest = make_ingest(steps=[ContractPrivacy(Registry).protect])
    text = str(predictions(exports("openinference"), ingest=ingest))
    assert "u-1" not in text
    assert "s-1" not in text


def test_each_model_without_a_contract_is_logged_once() -> None:
    privacy = ContractPrivacy(Registry)
    with structlog.testing.capture_logs() as logs:
        for model in ("unknown_service", "unknown_service", "other"):
            prediction: Any = QuickPrediction(model, "1", "a", 0)
            privacy.protect(prediction)
    assert [log["model"] for log in logs] == ["unknown_service", "other"]
    assert "otlp.models" in logs[0]["event"]
