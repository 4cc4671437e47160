"""From a checked spec to finished runs: one run, a sweep, a suite; the plan, the view and the end."""
