"""Records as bytes: fingerprints, blocks, segments, the index, and chunks of large values."""
