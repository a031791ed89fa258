"""What is in data sets: their faults, their numbers, and what training sees of them."""
