"""`barograph lineage`: a model from its sources to its consumers, as a table, a picture or OpenLineage events."""
