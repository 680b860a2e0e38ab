"""Errors that end a processor or a command."""


class ProcessorError(Exception):
    """An error that neither a retry nor a dead letter resolves. The processor exits; the message says what to do."""
