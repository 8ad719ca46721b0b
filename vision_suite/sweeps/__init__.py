"""Hyper-parameter searches without a server, on the files that ``wandb sweep`` takes."""
