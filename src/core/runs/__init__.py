"""A run from its start to its close: request, plan, messages, ledger, totals."""
