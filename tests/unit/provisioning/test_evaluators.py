"""Contracts and baselines that `apply` derives for evaluators."""

from __future__ import annotations

import msgspec
import pytest
from barograph.contract import Contract, Text
from barograph.contract.evaluators import Evaluator
from barograph.contract.file import dump_contract, parse_contract

from barograph_server.errors import ApplyError
from barograph_server.provisioning.plan import first_baselines, with_evaluators
from barograph_server.sketches.baseline.baseline import dump_baseline, load_baseline
from barograph_server.sketches.baseline.fit import fit_problems
from barograph_server.streams.evaluator.active import NO_VERSION

BOT = Contract(
    model="bot",
    text=Text(content="keep", sample=1.0),
    evaluators={"refuses": Evaluator(check="refusal"), "faithful": Evaluator(judge="f.yaml", endpoint="e")},
)
PLAIN = Contract(model="bot.refuses")


def test_each_evaluator_gets_a_contract_and_a_baseline_that_fits_it() -> None:
    pairs = with_evaluators([(BOT, "the text of the file")])
    assert [contract.model for contract, _ in pairs] == ["bot", "bot.refuses", "bot.faithful"]
    assert pairs[0][1] == "the text of the file"
    assert all(parse_contract(text) == contract for contract, text in pairs[1:])
    baselines = first_baselines([BOT])
    for (contract, _), baseline in zip(pairs[1:], baselines, strict=True):
        assert (baseline.model, baseline.version, baseline.rows) == (contract.model, NO_VERSION, 0)
        assert fit_problems(contract, baseline) == []
        assert load_baseline(dump_baseline(baseline), "a baseline") == baseline
    assert with_evaluators([(PLAIN, "")]) == [(PLAIN, "")]


def test_the_derived_contracts_in_force_are_no_conflict() -> None:
    pairs = with_evaluators([(BOT, "")])
    again = with_evaluators([(BOT, "")], [contract for contract, _ in pairs])
    assert [contract.id for contract, _ in again] == [contract.id for contract, _ in pairs]
    changed = msgspec.structs.replace(BOT, evaluators={"refuses": Evaluator(check="refusal", share=0.5)})
    assert len(with_evaluators([(changed, "")], [contract for contract, _ in pairs])) == 2


@pytest.mark.parametrize(("contracts", "stored"), [([BOT, PLAIN], []), ([BOT], [PLAIN]), ([PLAIN], [BOT])])
def test_a_contract_of_the_same_name_is_an_error(contracts: list[Contract], stored: list[Contract]) -> None:
    with pytest.raises(ApplyError, match=r"bot\.refuses"):
        with_evaluators([(each, dump_contract(each)) for each in contracts], stored)
