"""Searches over specs: trials of the ranges that a spec declares, each a run, and what they cost."""
