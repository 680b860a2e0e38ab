"""`barograph codebook`: train, show and name codebooks of topics."""
