"""The parts of tools/benchmark.py, and benchmarks of single layers and methods."""
