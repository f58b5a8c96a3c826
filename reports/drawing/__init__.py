"""Figures as themed SVG: one drawing for light, dark and paper."""
