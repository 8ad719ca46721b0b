"""Preparation of real data sets: recipes and the catalogue of them, fetching, and checking."""
