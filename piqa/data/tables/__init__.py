"""One file per dataset: which images, with which scores."""
