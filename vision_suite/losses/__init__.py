"""Losses: plain functions first, modules only where there is state."""
