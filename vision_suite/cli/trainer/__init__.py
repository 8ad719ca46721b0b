"""Trainer commands: parsing, links, checkpoints and messages around Lightning's CLI."""
