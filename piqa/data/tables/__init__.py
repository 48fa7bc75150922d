"""One file a dataset: which images, with which scores."""
