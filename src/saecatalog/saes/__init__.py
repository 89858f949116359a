"""Sparse autoencoders: found by name or folder, listed, and loaded."""
