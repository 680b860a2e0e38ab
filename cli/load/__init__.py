"""`barograph load`: history and nightly labels from files, through the publisher."""
