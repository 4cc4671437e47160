"""Step schemes, gradients and optimisers."""
