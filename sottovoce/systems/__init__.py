"""Published systems as named stages, run on every fold."""
