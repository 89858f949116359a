"""Formats of text files: an `Input` flows in, its pieces flow out, each a text or a record with its place."""
