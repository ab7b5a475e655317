"""Measures Strata beside the tools a user would run instead, on the same data in the same run."""
