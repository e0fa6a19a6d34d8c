#!/bin/sh
# Run before Superset at every start: its metadata, its administrator, a user for lakedrop, and the database of our tables.
set -eu

superset db upgrade
superset init # the roles
superset fab create-admin --username admin --password "$SUPERSET_ADMIN_PASSWORD" \
  --firstname Super --lastname Set --email admin@superset.example
superset fab create-user --role Alpha --username lakedrop --password "$SUPERSET_PASSWORD" \
  --firstname lake --lastname drop --email lakedrop@superset.example
# Users that are there keep their passwords; these are those of .env.
superset fab reset-password --username admin --password "$SUPERSET_ADMIN_PASSWORD"
superset fab reset-password --username lakedrop --password "$SUPERSET_PASSWORD"
superset set-database-uri --database_name "$SUPERSET_DATABASE" --uri "$SUPERSET_DATABASE_URI" # asks Trino nothing
