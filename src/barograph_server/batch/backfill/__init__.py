"""`barograph load`: publishes history and labels from files."""
