"""Emoji-Scenes: pictures laid out by rule from real drawings, with questions, captions, boxes and preferences."""
