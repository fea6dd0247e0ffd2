"""The networks that are timed (seeded weights) and the two that are judged (ImageNet weights)."""
