"""The refresh function's work: a delivery consumed, a part worked on, a dead letter accounted for."""
