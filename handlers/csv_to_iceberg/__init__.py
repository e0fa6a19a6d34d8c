"""CSV files to Iceberg tables: rows as typed columns, replaced as a whole with every version of their file."""
