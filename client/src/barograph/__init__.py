"""The client of Barograph: contract, events, publisher."""

from barograph.contract import Contract
from barograph.contract.file import dump_contract, load_contract, parse_contract
from barograph.contract.problems import ContractError
from barograph.events import Label, Prediction, Reason
from barograph.publisher.observation import Observation
from barograph.publisher.outbox import PublishError, Stats
from barograph.publisher.publisher import Publisher
from barograph.validation.rows import ContractViolation, Validator, Violation
from barograph.validation.tables import TableViolation, validate_table

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
