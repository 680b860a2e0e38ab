"""The client of Barograph: contract, events, publisher."""

from barograph.contract import Contract
from barograph.contract_yaml import dump_contract, load_contract, parse_contract
from barograph.events import Label, Prediction, Reason
from barograph.observation import Observation
from barograph.outbox import PublishError, Stats
from barograph.problems import ContractError
from barograph.publisher import Publisher
from barograph.validation import ContractViolation, Validator, Violation
from barograph.validation_tables import TableViolation, validate_table

__all__ = [
    "Contract",
    "ContractError",
    "ContractViolation",
    "Label",
    "Observation",
    "Prediction",
    "PublishError",
    "Publisher",
    "Reason",
    "Stats",
    "TableViolation",
    "Validator",
    "Violation",
    "dump_contract",
    "load_contract",
    "parse_contract",
    "validate_table",
]
