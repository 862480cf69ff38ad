"""Webhooks: where deliveries may be sent, how, and when."""
