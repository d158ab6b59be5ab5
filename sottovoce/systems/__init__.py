"""Published systems as named stages, walked through every fold."""
