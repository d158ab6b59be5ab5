"""A trained model on recordings."""
