"""Avalanche plugins: options that a method may be given, and anytime evaluation."""
