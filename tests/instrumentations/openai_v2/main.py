"""Make the calls with OpenTelemetry's older instrumentation: `main.py BASE_URL MODEL`."""

from __future__ import annotations

import sys
from pathlib import Path

from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from calls import run

run(OpenAIInstrumentor())
