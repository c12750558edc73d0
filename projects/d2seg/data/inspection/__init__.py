"""What is annotated in a data set and what is wrong with it, for ``tools/check_dataset.py``."""
