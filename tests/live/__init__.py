"""The contract over HTTP, against any running WebUI."""
