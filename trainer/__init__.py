"""trainer: view sets in, a student that sees better out, by gated on-policy distillation without answer labels."""

__version__ = "0.1.0"
