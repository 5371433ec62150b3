"""AnimateDiff for the Stable Diffusion WebUI family."""

__version__ = "0.1.0"
