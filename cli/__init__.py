"""The command `barograph`: one file per command, which parses options and prints."""
