"""`barograph review`: people label answers, and how far they agree."""
