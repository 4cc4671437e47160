"""A spec as mathematics: what each stage minimises and how, as text and LaTeX."""
