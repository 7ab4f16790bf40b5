"""What a training loop is made of: buffers, importances, schedules and adaptive rates."""
