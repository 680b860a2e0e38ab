"""The examples: flights, their demo, and a support bot."""
