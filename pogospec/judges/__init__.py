"""What decides whether a step is taken, from held-out episodes alone; base.py, and a file for each kind."""
