#!/bin/sh
# The ingestion of ESCO for an init container: see `esco-init --help` and docs/esco.md.
exec esco-init "$@"
