"""Pictures of scanpaths."""
