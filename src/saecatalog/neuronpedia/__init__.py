"""Neuronpedia, both ways: a published catalog as rows for its importer, and rows of its exports beside a catalog."""
