"""A package, or else that of the same name which torch-fidelity installs would be imported."""
