"""Running a benchmark where another library is, and what its models need to look like."""
