"""Pictures of temporal action detection."""
