"""A model as one file for another engine, and the check that it still gives the same scores."""
