"""A stand-in for LML that behaves as docs/design/lml.md says; `python -m local.lml` runs it as a process."""
