"""Attacks: each claim of docs/security.md is tried with what its holder has."""
