"""The sections of a run's page: each one's facts, beside the template that shows them."""
