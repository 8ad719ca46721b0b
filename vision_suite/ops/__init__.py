"""Attention operators that more than one method needs."""
