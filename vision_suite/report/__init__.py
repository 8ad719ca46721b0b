"""One HTML page on runs: settings, curves, results, pictures, environment and warnings, for ``vision-suite report``."""
