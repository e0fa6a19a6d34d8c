"""
SILO's command line in front of RhyDB, SILO's engine as a Python package, which has no command of its own.

    silo preprocessing            as SILO: reads the file that SILO_PREPROCESSING_CONFIG names, writes a database
    silo query FOLDER STATEMENT   prints the rows as JSON, of the newest database in a folder

Runs in the environment of `silo_engine.py`, with nothing of this project.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
import zstandard
from rhydb import Database

TYPES = {"string": "string", "int": "int", "float": "float", "date": "date", "boolean": "boolean"}


def preprocessing() -> None:
    config = yaml.safe_load(Path(os.environ["SILO_PREPROCESSING_CONFIG"]).read_text("utf-8"))
    given = Path(os.environ.get("SILO_INPUT_DIRECTORY") or config.get("inputDirectory", "./"))
    made = Path(os.environ.get("SILO_OUTPUT_DIRECTORY") or config["outputDirectory"])
    schema = yaml.safe_load((given / config.get("databaseConfig", "database_config.yaml")).read_text("utf-8"))["schema"]
    genomes = json.loads((given / config.get("referenceGenomeFilename", "reference_genomes.json")).read_text("utf-8"))
    nucleotides, genes = genomes["nucleotideSequences"], genomes.get("genes", [])
    made.mkdir(parents=True, exist_ok=True)
    # The engine names a database by the second it is begun in, and refuses a name that is there; SILO takes longer.
    newest = max((int(path.name) for path in made.iterdir() if path.name.isdigit()), default=0)
    while time.time() <= newest:
        time.sleep(0.05)
    database = Database()
    references = [{**one, "type": "nucleotide"} for one in nucleotides] + [
        {**one, "type": "amino_acid"} for one in genes
    ]
    database.append_data_from_string("reference_genomes", "\n".join(map(json.dumps, references)))
    columns = [f"{named(one['name'])} := {column(one)}" for one in schema["metadata"]]
    for one in nucleotides:
        name = named(one["name"])
        columns.append(f"{name} := nucleotideSequence(reference := {name})")
        dictionary = f"reference_genomes.filter(name = '{one['name']}' && type = 'nucleotide').project({{sequence}})"
        unaligned = named(f"unaligned_{one['name']}")
        columns.append(f"{unaligned} := zstdCompressedString(dictionary := {dictionary})")
    columns += [f"{named(one['name'])} := aminoAcidSequence(reference := {named(one['name'])})" for one in genes]
    database.query(f"createTable(default, {{{', '.join(columns)}}}, primaryKey := {named(schema['primaryKey'])})")
    with tempfile.NamedTemporaryFile(suffix=".ndjson") as plain:
        with (given / config["ndjsonInputFilename"]).open("rb") as packed:
            zstandard.ZstdDecompressor().copy_stream(packed, plain)
        plain.flush()
        database.append_data_from_file("default", plain.name)
    database.save_checkpoint(str(made))


def column(field: dict[str, Any]) -> str:
    return TYPES[field["type"]] + ("(generateIndex := true)" if field.get("generateIndex") else "")


def named(name: str) -> str:
    return name if name.isidentifier() else f'"{name}"'


def query(folder: str, statement: str) -> None:
    found = Database(folder).query(statement)
    json.dump(found.to_pylist(), sys.stdout)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["preprocessing"]:
            preprocessing()
        case ["query", folder, statement]:
            query(folder, statement)
        case _:
            sys.exit(__doc__)
