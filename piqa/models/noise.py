class NoiseNet: pass
