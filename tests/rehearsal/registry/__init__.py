"""Tests of rehearsal/registry/."""
