"""How a model is measured: splits, fits out of fold, scores, prediction sets, explanations, comparisons."""
