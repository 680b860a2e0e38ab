"""Candidates of shadows that run in processes of their own, which import this module."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any


def answer_or_fail(features: dict[str, Any]) -> Any:
    """Do what the features say; the answer contains the process id.

    Args:
        features: `hang` is a file to create before a call that does not return; `exit` is a status of the process;
            `raise` is the text of a SystemExit; `answer` is the answer.
    """
    if "hang" in features:
        Path(features["hang"]).touch()
        while True:
            time.sleep(60)
    if "exit" in features:
        os._exit(features["exit"])
    if "raise" in features:
        sys.exit(features["raise"])
    return features.get("answer", {"score": 0.5, "metrics": {"pid": os.getpid()}})
