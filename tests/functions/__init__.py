"""The writer function: its core by itself, its edges against the rehearsal's Git host and moto's AWS."""
