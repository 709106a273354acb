"""AWS as this job uses it: how clients are made, the ledger's table, the queues."""
