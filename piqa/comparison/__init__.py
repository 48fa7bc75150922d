"""Which of two cameras, devices or builds takes the better portraits."""
