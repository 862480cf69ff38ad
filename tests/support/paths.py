"""Paths of the checkout."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
MNIST = ROOT.parent / "shared" / "data"  # beside the checkout, where someone has put it
