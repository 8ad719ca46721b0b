"""Preparing real data sets: fetching, checking, and the catalogue of what can be prepared."""
