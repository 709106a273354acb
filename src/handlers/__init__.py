"""One file a Lambda function, and what wires them."""

import gc

# What a start makes stays: the collector that looks it through, again and again, takes a tenth of the start.
gc.set_threshold(100_000)
