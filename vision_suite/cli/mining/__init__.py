"""Parts of ``vision-suite bootstrap``: its configuration, and the model, extractor and detectors that it names."""
