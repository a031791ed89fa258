"""Checkpoints of any library: found, read without running code, checked, and written whole."""
