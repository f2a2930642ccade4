"""Sources: questions through a recipe's query, images within limits, reviewers' verdicts, and drawn scenes for a demo.

In: files of any origin. Out: Question records, decoded images, verdicts."""
