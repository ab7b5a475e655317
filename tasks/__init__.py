"""What runs: one stage per file, each a few lines around the engine; `canvas` shows how they hang together."""
