"""A file a verb: it declares options, calls the library and shows what came back."""
