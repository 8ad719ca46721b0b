"""Emoji-ReID: drawing it from public vector designs, and checking it."""
