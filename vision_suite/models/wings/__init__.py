"""WINGS: low-rank learners beside the attention of a decoder, weighed by a router (Zhang et al., NeurIPS 2024)."""
