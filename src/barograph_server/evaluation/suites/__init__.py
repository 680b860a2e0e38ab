"""`eval`: evaluation suites of language models: import, run, show, and the gate of new versions."""
