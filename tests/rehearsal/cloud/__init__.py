"""The rehearsal's emulated accounts."""
