"""One target under libFuzzer: `python -m tests.fuzz.child TARGET`, followed by options and corpus of libFuzzer."""

import gc
import sys

import atheris

with atheris.instrument_imports(include=["barograph", "barograph_server.sketches", "barograph_server.streams"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    name, *options = sys.argv[1:]
    # The modules live to the end: without this, each full garbage collection visits them.
    gc.collect()
    gc.freeze()
    atheris.Setup([sys.argv[0], *options], TARGETS[name].run)
    atheris.Fuzz()
