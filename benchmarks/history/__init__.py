"""A generated history: weeks of hourly panes of many models with all derived rows."""

from __future__ import annotations

from benchmarks.history.generate import FULL, MODEL, History, Size, fill

__all__ = ["FULL", "MODEL", "History", "Size", "fill"]
