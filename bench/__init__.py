"""What it costs and whether it still tells the truth: `python -m bench.NAME` prints the rows of bench/README.md."""
