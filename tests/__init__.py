"""All tests: unit, golden, live and browser."""
