"""The database: engine and transactions, tables, clock, event positions."""
