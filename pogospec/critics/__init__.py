"""Critics."""
