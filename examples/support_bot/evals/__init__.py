"""The evaluation suite of the support bot, which inspect-ai runs."""
