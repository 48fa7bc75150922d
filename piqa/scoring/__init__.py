"""How many images are scored: in batches, streamed, resumed, spread over machines."""
