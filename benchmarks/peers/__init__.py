"""The sketcher beside its peers: each peer's program in a folder and an environment of its own, run and compared here."""
