"""Flax linen modules. Nothing here knows a config, a file or a metric writer."""
