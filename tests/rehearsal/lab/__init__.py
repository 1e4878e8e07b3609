"""Tests of rehearsal/lab."""
