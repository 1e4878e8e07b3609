"""Tests of what plugs into the engine: none of them starts it."""
