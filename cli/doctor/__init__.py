"""`barograph doctor`: what of the whole installation is not as it should be, and what to do about it."""
