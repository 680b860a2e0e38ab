"""Feedback loops: how outputs change later inputs, and how diverse outputs remain."""
