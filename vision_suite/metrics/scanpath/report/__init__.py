"""From trials and predictions to the table of an evaluation."""
