"""What the image hook's dead-letter and failure queues hold, shown and replayed by a person."""
