"""The sketcher beside its peers: each peer's program has a folder and an environment of its own."""
