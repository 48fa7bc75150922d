"""How tensors get in and out of files."""
