"""Pictures given to ``predict``: their boxes, targets and batches."""
