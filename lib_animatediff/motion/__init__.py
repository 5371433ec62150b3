"""Motion modules: the network, its families, its files."""
