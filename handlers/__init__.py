"""Handlers: one package per kind of sink. They import `contract` and nothing of `consumer`."""
