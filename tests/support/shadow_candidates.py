"""Candidates of shadows that run in processes of their own, which import this module."""

import asyncio
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

TIMEOUT_SHARE, ERROR_SHARE, WRONG_SHARE = 0.05, 0.02, 0.01
HANG_S = 0.25


def answer_or_fail(features: dict[str, Any]) -> Any:
    """Do what the features say: `hang` creates this file and never returns, `exit` has a status, `raise` the text of a
    SystemExit, `linger` prevents the exit of the process, `answer` is the answer, which has the process id."""
    if "hang" in features:
        Path(features["hang"]).touch()
        while True:
            time.sleep(60)
    if "exit" in features:
        os._exit(features["exit"])
    if "raise" in features:
        sys.exit(features["raise"])
    if "linger" in features:
        threading.Thread(target=threading.Event().wait).start()
    return features.get("answer", {"score": 0.5, "metrics": {"pid": os.getpid()}})


def answer_mixed(features: dict[str, Any]) -> Any:
    """Answer with `score`; hang, raise or return text if `kind`, in [0, 1), is within the shares above."""
    if features["kind"] < TIMEOUT_SHARE:
        time.sleep(HANG_S)
    return _answer(features)


async def answer_mixed_async(features: dict[str, Any]) -> Any:
    """The same as a coroutine function."""
    if features["kind"] < TIMEOUT_SHARE:
        await asyncio.sleep(HANG_S)
    return _answer(features)


def _answer(features: dict[str, Any]) -> Any:
    kind = features["kind"] - TIMEOUT_SHARE
    if 0 <= kind < ERROR_SHARE:
        raise ValueError
    if 0 <= kind - ERROR_SHARE < WRONG_SHARE:
        return "nonsense"
    return {"score": features["score"], "metrics": {"cost": 0.1}}


_LEAKED: list[bytes] = []


def leak(features: dict[str, Any]) -> Any:
    _LEAKED.append(b"x" * (features["mb"] << 20))
    return {"score": 0.5, "metrics": {"leaked_mb": sum(map(len, _LEAKED)) >> 20}}


def fork_and_return(features: dict[str, int]) -> int:
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    return features["i"]


async def fork_and_return_async(features: dict[str, int]) -> int:
    """The same as a coroutine function."""
    return fork_and_return(features)
