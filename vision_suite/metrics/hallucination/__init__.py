"""Objects that texts make up: CHAIR, AMBER, POPE, Object HalBench, positions of sentences, agreement of detectors."""
