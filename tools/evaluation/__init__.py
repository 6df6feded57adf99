"""Clips that nobody trained on, and what is measured of the videos made with them."""
