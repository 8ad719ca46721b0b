"""Metrics: torchmetrics classes per protocol and the plain functions under them."""
