"""A support bot on a small real language model, with prompts as files and OpenTelemetry.

`make demo-llm` runs it. `questions` makes what its users ask, and `bot` is the process that serves them.
"""
