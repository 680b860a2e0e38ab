"""Loads what processors are made of, for the server that they are forked from (`tests.support.forked_processors`)."""

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

# What is here stays: a collection in a fork need not look at it, nor copy its pages.
gc.freeze()
