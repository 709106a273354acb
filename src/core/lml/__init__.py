"""LML, the service that is called: its client, what its answers count for, the deploy gate."""
