"""`make bench-hook`: what the image hook does under load and faults, against GitHub's latency and limits."""
