"""One module a noun of the REST API."""
