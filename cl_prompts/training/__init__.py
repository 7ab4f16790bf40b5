"""Parts of training loops: buffers, importances, schedules and adaptive rates."""
