"""The station's rotation table in PostgreSQL."""
