"""What is measured, how, and against whom: `python -m benchmarks NAME`; see README.md."""
