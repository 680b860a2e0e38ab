"""The class of a generation, so that labels of users can be compared with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from barograph_server.streams.registry.registry import Registry

CONTENT = "true"
"""What each answer claims: that the user is content."""


class FeedbackClass:
    """Sets the class of predictions whose contract has a `bool` label; accuracy is then the share of true labels."""

    def __init__(self, registry: Callable[[], Registry]) -> None:
        """Start without contracts.

        Args:
            registry: returns the contracts in force.
        """
        self._registry = registry

    def set_class(self, prediction: Any) -> None:
        """Set the class of a prediction (`QuickPrediction`) in place, unless the call failed."""
        contract = self._registry().contracts.get(prediction.model)
        has_feedback = contract is not None and contract.label is not None and contract.label.type == "bool"
        if has_feedback and prediction.error is None:
            prediction.class_ = CONTENT
