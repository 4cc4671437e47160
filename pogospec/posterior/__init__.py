"""What the end of a flow is good for: draws, guides and starts of other samplers, and how far to trust it."""
