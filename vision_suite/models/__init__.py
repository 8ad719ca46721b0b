"""One network per method: plain ``nn.Module``s that know nothing of training loops."""
