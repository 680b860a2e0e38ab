"""Text and JSON output of a verification."""

from __future__ import annotations

from typing import Any

from barograph_server.rollouts.evidence.verify import MAX_LISTED, Verification
from barograph_server.terminal import Terminal, plural


def verification_json(verification: Verification) -> dict[str, Any]:
    """Make the values of the JSON output of `verify`."""
    return {
        "digest": verification.bundle.digest,
        "is_equal": verification.is_equal,
        "differences": verification.differences,
        "obstacles": verification.obstacles,
        "recounted_windows": verification.recounted_windows,
        "exceptions": verification.exceptions,
    }


def print_verification(terminal: Terminal, verification: Verification) -> None:
    """Print the result of a verification."""
    terminal.line(f"digest {verification.bundle.digest}")
    if verification.recounted_windows:
        windows = plural(verification.recounted_windows, "score window")
        terminal.line(f"{windows} changed since the export and were counted again up to the bundle's offsets.")
    for text in verification.differences[:MAX_LISTED]:
        terminal.line(f"differs: {text}", "red")
    if len(verification.differences) > MAX_LISTED:
        terminal.line(f"… and {len(verification.differences) - MAX_LISTED} more, which --format json lists.", "red")
    for text in verification.obstacles:
        terminal.line(f"cannot be verified: {text}", "yellow")
    if verification.is_equal:
        exceptions = f", except {' and '.join(verification.exceptions)}" if verification.exceptions else ""
        terminal.line(f"equal to the bit{exceptions}", "green")
