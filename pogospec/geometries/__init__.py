"""Probability geometries."""
