"""A stand-in for LML that behaves as LML.md says; `python -m local.lml` runs it as a process."""
