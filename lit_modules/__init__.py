"""Lightning modules: when things happen. What happens is in models, losses and metrics."""
