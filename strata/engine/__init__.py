"""The use cases: collect, create, verify, restore, and the manager that puts them in order."""
