"""Tests of rehearsal/builds/."""
