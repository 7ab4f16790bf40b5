"""Terms of loss, one idea a file."""
