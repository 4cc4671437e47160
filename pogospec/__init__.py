"""Policy gradient flows for offline reinforcement learning, declared in YAML and compiled to JAX."""

__version__ = "0.1.0"
