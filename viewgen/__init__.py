"""viewgen: questions and images in, question-relevant evidence views out, stored as Parquet."""

__version__ = "0.1.0"
