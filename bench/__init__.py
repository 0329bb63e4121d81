"""Rates as ratios: every figure stands beside the floor that the same machine showed in the same run."""
