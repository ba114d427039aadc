"""How good a result or a method is: scores, the benchmark, the report."""
