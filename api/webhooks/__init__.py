"""Webhooks: the permitted destinations of deliveries, their sending, and their order."""
