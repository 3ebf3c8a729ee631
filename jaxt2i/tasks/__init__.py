"""What is learnt: each task writes its loss out in full, like its paper."""
