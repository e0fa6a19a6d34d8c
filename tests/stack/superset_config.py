"""What Superset is told in tests. It reads this as its own module, in its own environment."""

import os

SECRET_KEY = "of-tests-and-of-nothing-else-whatever"  # noqa: S105 (of a server on the loopback interface)
SQLALCHEMY_DATABASE_URI = f"sqlite:///{os.environ['SUPERSET_HOME']}/superset.db?check_same_thread=false"
PREVENT_UNSAFE_DB_CONNECTIONS = False  # a file of SQLite serves as a database of data where no Trino is needed
TALISMAN_ENABLED = False  # it would have browsers ask for HTTPS
CACHE_CONFIG = {"CACHE_TYPE": "SimpleCache"}
DATA_CACHE_CONFIG = CACHE_CONFIG
