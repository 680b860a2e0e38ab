"""Runs one processor with settings given as JSON: `python -m tests.support.processor KIND SETTINGS`."""

from __future__ import annotations

import json
import sys

from streams import run
from streams.settings import ProcessorSettings
from streams.topics import Topics
from warehouse.client import Address


def main(arguments: list[str]) -> int:
    kind, told = arguments[0], json.loads(arguments[1])
    who = told.pop("username"), told.pop("password")
    address = Address(told.pop("host"), told.pop("port"), told.pop("database"), *who)
    topics = Topics(told.pop("prefix"))
    settings = ProcessorSettings(warehouse=address, topics=topics, **told)
    return int(getattr(run, f"run_{kind}")(settings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
