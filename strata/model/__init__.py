"""Frozen values that name what the system handles; no input or output."""
