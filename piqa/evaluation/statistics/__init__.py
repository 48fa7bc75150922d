"""How sure a measure is: bootstrap, noise ceiling, significance, calibration."""
