"""The world in a box: emulated AWS, a Git host and a registry on loopback, and the play through them."""
