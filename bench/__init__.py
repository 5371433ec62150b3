"""How fast the motion modules are, told by ratios: against their own matrix products and against diffusers."""
