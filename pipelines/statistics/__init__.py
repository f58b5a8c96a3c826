"""How well predictions do, and how surely: scores under weights, the bootstrap over groups, paired differences."""
