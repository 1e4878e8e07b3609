"""`make check`: checks a platform's own stack files and services. Fast, offline and read-only."""
