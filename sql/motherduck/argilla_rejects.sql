-- Rows of objects below argilla/in/ that are no records, of the version that is held and of a newer one that failed; and
-- records that Argilla's search index may not have as they are.
CREATE TABLE IF NOT EXISTS md_annotated.main.argilla_rejects (
    folder_uri   VARCHAR NOT NULL,
    fingerprint  VARCHAR NOT NULL,
    status       VARCHAR NOT NULL,  -- ingested, failed
    row_number   BIGINT NOT NULL,
    external_id  VARCHAR,
    reason       VARCHAR NOT NULL,
    content      VARCHAR NOT NULL,  -- the row, as JSON
    PRIMARY KEY (folder_uri, status, row_number)
);
CREATE TABLE IF NOT EXISTS md_annotated.main.argilla_doubts (
    folder_uri   VARCHAR NOT NULL,
    external_id  VARCHAR NOT NULL,
    PRIMARY KEY (folder_uri, external_id)
);
