"""Training: stable-baselines3, sb3-contrib and torch."""
