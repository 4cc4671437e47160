"""Known energies: log densities over actions, for flows without data."""
