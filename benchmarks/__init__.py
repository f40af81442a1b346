"""What convlab is measured by, a script each: ``python -m benchmarks.networks`` and so on; `README.md` here is what they found."""
