"""Spec + space -> Program: pure functions that initialise and update."""
