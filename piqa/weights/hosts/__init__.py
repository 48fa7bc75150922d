"""How files are fetched from each kind of host."""
