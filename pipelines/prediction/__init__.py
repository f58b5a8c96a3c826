"""New images through a run's model: their metadata found and looked at, then scored as the run's own were."""
