#!/bin/sh
# Run by the image of PostgreSQL when the cluster is made: an owner and a database for each ledger and catalog,
# and one for the catalogue of datasets.
set -eu

database() { # NAME OWNER PASSWORD
  psql --quiet --set=ON_ERROR_STOP=1 --username "$POSTGRES_USER" --set=name="$1" --set=owner="$2" --set=password="$3" <<'SQL'
SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', :'owner', :'password')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'owner') \gexec
CREATE DATABASE :"name" OWNER :"owner" ENCODING 'UTF8' TEMPLATE template0 LOCALE 'C';
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
}

database ledger lakedrop "$LEDGER_PASSWORD"
database ledger_minio lakedrop "$LEDGER_PASSWORD"
database catalog catalog "$CATALOG_PASSWORD"
database catalog_minio catalog "$CATALOG_PASSWORD"
database datasets lakedrop "$LEDGER_PASSWORD"
