"""The state of a model, as monitoring publishes it and as serving code reads it."""
