"""Programs of torch.export, and examples of inputs, read."""
