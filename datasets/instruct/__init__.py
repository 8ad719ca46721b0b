"""Conversations about pictures: readers, batches, and the sets and language models that are prepared for them."""
