"""What is measured, each evaluator by name."""
