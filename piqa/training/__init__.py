"""How a training run behaves: checkpoints, signals, records."""
