"""What a judge may use, spread over the hour."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from barograph.contract.evaluators import EvaluatorBudget

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
