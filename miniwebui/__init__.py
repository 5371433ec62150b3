"""A small WebUI with A1111's extension contract: the embedded default for newcomers and the host of the tests."""
