"""Each row of docs/security.md, attacked."""
