"""Prompts of language models: files, versions and labels, and their copy in serving processes."""
