"""The demo of a language model: a support bot on a small real model, a worse prompt, and a change of topics."""
