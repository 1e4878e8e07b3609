"""What Slipway declares: one component a file, nothing but declarations."""
