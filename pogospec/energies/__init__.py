"""Energy terms."""
