"""A serving process with prompts: prints each version of a label with the time at which it saw it."""

from __future__ import annotations

import json
import sys
import time

from barograph import Prompts
from barograph.prompts.prompts import MIN_STALE_S

POLL_S = 0.005


def main() -> None:
    """Print a line of JSON for each change, until the process is killed."""
    options = json.loads(sys.argv[1])
    prompts = Prompts(
        bootstrap_servers=options["bootstrap_servers"],
        topic_prefix=options["prefix"],
        cache=options["cache"],
        fallback=options["fallback"],
        stale_s=MIN_STALE_S,
    )
    name = options["name"]
    last: tuple[str, str] = ("", "")
    longest_s = 0.0
    while True:
        began_s = time.perf_counter()
        prompt = prompts.get(name)
        longest_s = max(longest_s, time.perf_counter() - began_s)
        if (prompt.id, prompt.source) != last:
            last = (prompt.id, prompt.source)
            line = {"id": prompt.id, "source": prompt.source, "at_s": time.time(), "longest_s": longest_s}
            print(json.dumps(line), flush=True)
        time.sleep(POLL_S)


if __name__ == "__main__":
    main()
