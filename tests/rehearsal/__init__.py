"""Tests of rehearsal/."""
