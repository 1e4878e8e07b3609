"""Tests of what benchmarks stand on."""
