"""`barograph demo`: replays five months of real flights through the whole pipeline and reports what changed."""
