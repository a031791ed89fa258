"""Predictions in the formats of other tools: COCO, labelme, YOLO, supervision, FiftyOne."""
