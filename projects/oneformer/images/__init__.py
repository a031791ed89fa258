"""Image files and label PNGs, read upright and whole, with damage named."""
