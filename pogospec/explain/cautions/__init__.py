"""Warnings: where mathematics and practice part."""
