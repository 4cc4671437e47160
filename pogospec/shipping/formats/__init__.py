"""Formats that policies are exported in, one file each."""
