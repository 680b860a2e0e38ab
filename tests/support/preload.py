"""Imports the modules of all processors, for the fork server (`tests.support.forked_processors`)."""

from __future__ import annotations

import gc

import streams.monitor.app
import streams.monitor.security
import streams.monitor.state.store
import streams.monitor.worker
import streams.recorder.recorder
import streams.run
import streams.scorer.worker
import streams.sketcher.sketcher  # noqa: F401

# Exclude the loaded modules from garbage collection, which would copy their pages in a fork.
gc.freeze()
