"""The commands of ``vision-suite``, one module each with a ``main``."""
