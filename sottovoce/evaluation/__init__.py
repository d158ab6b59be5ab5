"""What a model is worth: evaluate, compare, study."""
