"""Object detectors that give boxes to other tasks."""
