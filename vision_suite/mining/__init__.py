"""Training rows made with a trained network: preference pairs at sentences (SENTINEL)."""
