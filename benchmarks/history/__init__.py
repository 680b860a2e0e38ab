"""Generated history: weeks of hourly panes of many models, and everything that was made of them."""

from __future__ import annotations

from benchmarks.history.generate import FULL, MODEL, History, Size, fill

__all__ = ["FULL", "MODEL", "History", "Size", "fill"]
