"""The client of Barograph: contracts, events, the publisher, shadows, guards and prompts.

Public names are imported at their first use, so that `import barograph` in a serving process loads neither the YAML
parser nor Arrow nor the Kafka client.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from barograph.comparison import compare
    from barograph.contract import Contract
    from barograph.contract.dump import dump_contract
    from barograph.contract.file import load_contract, parse_contract
    from barograph.contract.problems import ContractError
    from barograph.events import Label, Prediction, Reason, ShadowReason
    from barograph.guard.guard import Guard
    from barograph.pricing import cost
    from barograph.prompts.errors import PromptError
    from barograph.prompts.prompt import Prompt, load_prompt
    from barograph.prompts.prompts import Prompts
    from barograph.publisher.observation import Observation
    from barograph.publisher.outbox import PublishError, Stats
    from barograph.publisher.publisher import Publisher
    from barograph.shadow.request_tracker import ShadowStats
    from barograph.shadow.shadow import Shadow
    from barograph.validation.rows import ContractViolation, Validator, Violation
    from barograph.validation.tables import TableViolation, validate_table
else:
    _MODULES = {
        "Contract": "contract",
        "ContractError": "contract.problems",
        "ContractViolation": "validation.rows",
        "Guard": "guard.guard",
        "Label": "events",
        "Observation": "publisher.observation",
        "Prediction": "events",
        "Prompt": "prompts.prompt",
        "PromptError": "prompts.errors",
        "Prompts": "prompts.prompts",
        "PublishError": "publisher.outbox",
        "Publisher": "publisher.publisher",
        "Reason": "events",
        "Shadow": "shadow.shadow",
        "ShadowReason": "events",
        "ShadowStats": "shadow.request_tracker",
        "Stats": "publisher.outbox",
        "TableViolation": "validation.tables",
        "Validator": "validation.rows",
        "Violation": "validation.rows",
        "compare": "comparison",
        "cost": "pricing",
        "dump_contract": "contract.dump",
        "load_contract": "contract.file",
        "load_prompt": "prompts.prompt",
        "parse_contract": "contract.file",
        "validate_table": "validation.tables",
    }

    def __getattr__(name):
        """Import a public name at its first use."""
        from importlib import import_module

        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__():
        """List the public names, whether they are loaded or not."""
        return sorted({*globals(), *__all__})


__all__ = [
    "Contract",
    "ContractError",
    "ContractViolation",
    "Guard",
    "Label",
    "Observation",
    "Prediction",
    "Prompt",
    "PromptError",
    "Prompts",
    "PublishError",
    "Publisher",
    "Reason",
    "Shadow",
    "ShadowReason",
    "ShadowStats",
    "Stats",
    "TableViolation",
    "Validator",
    "Violation",
    "compare",
    "cost",
    "dump_contract",
    "load_contract",
    "load_prompt",
    "parse_contract",
    "validate_table",
]
