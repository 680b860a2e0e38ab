"""Make the calls with OpenInference: `main.py BASE_URL MODEL`."""

from __future__ import annotations

import sys
from pathlib import Path

from openinference.instrumentation.openai import OpenAIInstrumentor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from calls import run

run(OpenAIInstrumentor())
