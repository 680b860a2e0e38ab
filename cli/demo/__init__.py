"""`barograph demo`: five months of real flights through the whole path, and what was found in them."""
