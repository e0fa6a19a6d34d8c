"""The consumer: notifications become hints, hints become claims, claims bring sinks to the buckets' current state."""

__version__ = "0.1.0"
