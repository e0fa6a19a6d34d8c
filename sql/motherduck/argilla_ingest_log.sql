-- What of the objects below argilla/in/ is in Argilla. Times are UTC. Run in the database md_annotated, or leave it to
-- lakedrop, which makes what is missing.
CREATE TABLE IF NOT EXISTS md_annotated.main.argilla_ingest_log (
    dataset       VARCHAR NOT NULL,
    object_uri    VARCHAR NOT NULL,
    object_etag   VARCHAR,
    object_bytes  BIGINT,
    discovered_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    ingested_at   TIMESTAMP,
    status        VARCHAR,  -- discovered, ingesting, ingested, failed
    message       VARCHAR,
    PRIMARY KEY (dataset, object_uri)
);
