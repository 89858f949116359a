"""The analyses: stores and the lens flow in, tables and findings flow out. One module per question; no model runs."""

FINDINGS = "findings.json"
"""Beside the tables of an analysis: what was found about the corpus as a whole."""
