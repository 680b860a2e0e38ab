"""The processors, and what they share."""
