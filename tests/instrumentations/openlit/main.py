"""Make the calls with OpenLIT: `main.py BASE_URL MODEL`."""

from __future__ import annotations

import sys
from pathlib import Path

import openlit
from opentelemetry import trace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from calls import main

openlit.init(disable_metrics=True)
main(sys.argv[1], sys.argv[2], lambda: trace.get_tracer_provider().force_flush())
