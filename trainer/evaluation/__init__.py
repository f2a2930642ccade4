"""Evaluation: greedy answers to held-out questions, scored by deterministic rules, compared with intervals.

In: a student and a view set with answers. Out: one row per answer, accuracies and paired differences."""
