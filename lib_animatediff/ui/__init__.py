"""The panel, the settings, infotext and X/Y/Z axes."""
