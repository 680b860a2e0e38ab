"""`barograph demo --shadow`: a candidate answers the flights of five months beside the primary, and is judged."""
