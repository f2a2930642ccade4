"""The engine: a prompt computed once, shared by all that continues it, for sampling, scoring and the update.

In: prompts and rollouts. Out: log-probs and divergences, with gradient for the student. prefix.Trunk carries the
gradient back to the prompt."""
