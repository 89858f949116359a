"""Language models: found, loaded, and seen by the rest of the program in one way."""
