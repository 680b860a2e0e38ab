"""`barograph doctor`: checks the whole installation and says how to fix what is wrong."""
