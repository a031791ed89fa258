"""Inspection of datasets: faults, statistics, and pictures of training samples."""
