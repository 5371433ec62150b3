"""The only package that knows a host's engine."""
