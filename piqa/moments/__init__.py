"""Which images show one moment, and which of them is the keeper."""
