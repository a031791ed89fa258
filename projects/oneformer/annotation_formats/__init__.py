"""Annotations of other tools, converted to COCO's formats or to label PNGs."""
