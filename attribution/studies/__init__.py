"""Studies: what this project's own mispredictions and training data say about methods and strategies."""
