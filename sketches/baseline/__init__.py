"""The frozen summary of the training data: bins, categories, and the layout of the counts made on them."""
