"""Comparisons of two catalogs of one model: their published tables and decoders flow in, a page and tables flow out."""
