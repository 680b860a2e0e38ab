"""Judges: language models that evaluate answers by a rubric, through an endpoint with the chat API of OpenAI."""
