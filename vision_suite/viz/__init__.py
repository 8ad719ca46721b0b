"""Pictures of results: plain arrays and PIL images in, PIL images out."""
