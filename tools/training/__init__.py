"""Drawn faces, spoken sentences, and the models that learn to make the one talk the other."""
