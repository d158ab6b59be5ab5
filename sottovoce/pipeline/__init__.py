"""The steps of the data's way, as functions: a folder in, a folder out."""
