"""Evaluation of language models that read pictures: choices, written answers, perplexity, forgetting, attention."""
