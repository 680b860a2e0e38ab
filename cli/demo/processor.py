"""Runs one processor of the demo: `python -m cli.demo.processor KIND`."""

from __future__ import annotations
import dataclasses, sys
from cli.settings import load_settings
from streams import run


def main() -> int:
    kind = sys.argv[1]
    settings = dataclasses.replace(load_settings().processor(), report_s=1.0)
    f = getattr(run, f"run_{kind}", None)
    if f is None:
        import time

        time.sleep(1000)
    import os

    if os.environ.get("PROFILE_DEMO") == kind:
        import cProfile, time

        p = cProfile.Profile()
        r = p.runcall(f, settings)
        p.dump_stats(f"/tmp/demo/{kind}.prof")
        return r
    import resource

    r = f(settings)
    print(kind, resource.getrusage(resource.RUSAGE_SELF), file=sys.stderr)
    return r


if __name__ == "__main__":
    sys.exit(main())
