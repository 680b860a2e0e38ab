"""`barograph detectability`: the smallest changes that page."""
