"""What a network is trained to do: loss, optimiser and metrics, and nothing else."""
