"""Bytes to typed rows: what a file is, and what every record of it says."""
