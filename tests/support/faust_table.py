"""An agent that reads seven messages in one of the styles of Faust, and fails once at the fourth.

`python -m tests.support.faust_table OPTIONS`. The number of each processed message is appended to the file `done`, one
per line: of a message that Faust acknowledges itself after processing, of others when the agent acknowledges them.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import faust
from mode.supervisors import CrashingSupervisor, OneForOneSupervisor

from streams.runtime.lifecycle import configure_logging

BATCH = 5
WITHIN_S = 3.0
"""Timeout of a batch, in seconds. The first batch must be complete even on a slow machine, because its content
determines which messages are lost."""
FAILS_AT = 3


class ProcessedLog:
    """The processed messages, in a file."""

    def __init__(self, done: Path) -> None:
        self._done, self._failed = done, done.with_suffix(".failed")

    def fail_once(self, number: int) -> None:
        """Raise at message 3, the first time."""
        if number == FAILS_AT and not self._failed.exists():
            self._failed.touch()
            raise ValueError("this message cannot be processed")

    def done(self, number: int) -> None:
        """Record that a message is processed."""
        with self._done.open("a") as file:
            file.write(f"{number}\n")


async def values(stream: Any, notes: ProcessedLog) -> None:
    async for value in stream:
        notes.fail_once(int(value))
        notes.done(int(value))


async def take(stream: Any, notes: ProcessedLog) -> None:
    async for batch in stream.take(BATCH, within=WITHIN_S):
        for value in batch:
            notes.fail_once(int(value))
            notes.done(int(value))


async def noack_noack_take(stream: Any, notes: ProcessedLog) -> None:
    await _by_hand(stream.noack().noack_take(BATCH, within=WITHIN_S), notes)


async def noack_events(stream: Any, notes: ProcessedLog) -> None:
    async for event in stream.noack().events():
        notes.fail_once(int(event.value))
        notes.done(int(event.value))
        event.ack()


async def _by_hand(batches: AsyncIterator[list[Any]], notes: ProcessedLog) -> None:
    async for batch in batches:
        for event in batch:
            notes.fail_once(int(event.value))
        for event in batch:
            notes.done(int(event.value))
            event.ack()


STYLES = {each.__name__: each for each in (values, take, noack_noack_take, noack_events)}
SUPERVISORS = {"default": OneForOneSupervisor, "crashing": CrashingSupervisor}


def main(arguments: list[str]) -> int:
    options = json.loads(arguments[0])
    configure_logging()
    notes, style = ProcessedLog(Path(options["done"])), STYLES[options["style"]]
    app = faust.App(
        options["group"],
        broker=f"kafka://{options['bootstrap']}",
        datadir=tempfile.mkdtemp(prefix="faust-table-"),
        processing_guarantee="at_least_once",
        stream_wait_empty=False,
        broker_commit_interval=0.3,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.0,
        consumer_auto_offset_reset="earliest",
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        worker_redirect_stdouts=False,
        agent_supervisor=SUPERVISORS[options["supervisor"]],
    )
    topic = app.topic(options["topic"], value_serializer="raw", key_serializer="raw", value_type=bytes)

    @app.agent(topic, concurrency=1)  # type: ignore[untyped-decorator]
    async def read(stream: Any) -> None:
        await style(stream, notes)

    try:
        worker = faust.Worker(app, loglevel="WARNING", quiet=True, redirect_stdouts=False)
        worker.spinner = None
        worker.execute_from_commandline()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
