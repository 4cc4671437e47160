"""Loaders that are copied beside exported files; they import nothing of this package."""
