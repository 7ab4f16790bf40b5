"""Classifiers that are statistics of frozen features: sums, ridges, discriminants."""
