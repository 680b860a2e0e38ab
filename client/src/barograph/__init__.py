"""The client of Barograph: contract, events, publisher."""

from barograph.contract import Contract
from barograph.contract_yaml import dump_contract, load_contract, parse_contract
from barograph.events import Label, Prediction, Reason
from barograph.observation import Observation
from barograph.outbox import PublishError, Stats
from barograph.problems import ContractError
from barograph.publisher import Publisher

__all__ = [
    "Contract",
    "ContractError",
    "Label",
    "Observation",
    "Prediction",
    "PublishError",
    "Publisher",
    "Reason",
    "Stats",
    "dump_contract",
    "load_contract",
    "parse_contract",
]
