"""Fuzzing of the decoders: `make fuzz` runs millions of inputs; every test run repeats those of the corpus."""
