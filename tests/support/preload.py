"""Imports the modules of all processors, for the fork server (`tests.support.forked_processors`)."""

import gc

import barograph_server.streams.monitor.app
import barograph_server.streams.monitor.security
import barograph_server.streams.monitor.state.store
import barograph_server.streams.monitor.worker
import barograph_server.streams.recorder.recorder
import barograph_server.streams.run
import barograph_server.streams.scorer.worker
import barograph_server.streams.sketcher.sketcher  # noqa: F401

# Exclude the loaded modules from garbage collection, which would copy their pages in a fork.
gc.freeze()
