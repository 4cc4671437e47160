"""Trackers: copies of what a run writes, for the libraries that show runs side by side; its files stay the truth."""
