"""What Python and a notebook are given: runs, audits and comparisons as small objects, and what makes them."""
