"""Text: tokenizers, chat formats, sentences, words."""
