"""Methods whose networks are entries of the hub, one file each: a further method is a further file."""
