"""Images and labels: registry, readers, decoding, transforms and the choice of classes."""
