"""Noise schedules of the motion models and the noise an animation starts from."""
