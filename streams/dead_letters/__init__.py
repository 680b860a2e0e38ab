"""Dead letters: reading, replaying exactly once, and dropping with a reason."""
