"""The leakage audit: what could make the scores of a dataset too good, looked for before anybody believes them."""
