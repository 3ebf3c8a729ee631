"""Speed and memory of jaxt2i, each against the same network in PyTorch in the same run."""
