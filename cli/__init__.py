"""The command `barograph`."""
