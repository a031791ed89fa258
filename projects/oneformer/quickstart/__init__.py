"""The quick start: images that are drawn, and a small model that learns them."""
