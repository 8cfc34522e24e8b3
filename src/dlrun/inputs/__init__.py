"""New inputs for a trained model, one file a kind of data."""
