"""Formulas of published models in float64, written for checking: slow, plain, and nothing that the pack runs."""
