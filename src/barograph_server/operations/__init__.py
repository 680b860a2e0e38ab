"""The state of an installation: its checks, its processes and what they rejected."""
