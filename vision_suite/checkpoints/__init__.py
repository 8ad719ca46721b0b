"""Files of checkpoints: written whole, verified, read as plain data, and checked before they are used."""
