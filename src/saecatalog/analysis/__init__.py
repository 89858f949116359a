"""The analyses: stores and the lens flow in, tables and findings flow out. One module per question; no model runs."""

FINDINGS = "findings.json"
"""File beside the tables of an analysis with the findings about the corpus as a whole."""
