"""How many faults page, and how soon: real verdicts and real rules on replayed streams with planted faults."""
