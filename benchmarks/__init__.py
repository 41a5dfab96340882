"""Figures of docs/benchmarks.md: `make bench` prints them all in one table. Not part of the package."""
