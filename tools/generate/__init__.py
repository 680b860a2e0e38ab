"""Generated files that are checked in; `python -m tools.generate` writes or checks them."""

from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
