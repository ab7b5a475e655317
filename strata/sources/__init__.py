"""The three services that hold state: read from, and written back to."""
