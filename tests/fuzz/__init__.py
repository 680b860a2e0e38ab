"""Decoders against bytes that nobody meant: `make fuzz` for millions of them, the kept ones in every test run."""
