"""Conversations about pictures, whatever they are for: readers, rows as ids, pictures, what a stage holds."""
