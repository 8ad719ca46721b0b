"""Tables of the file of mining: scores, not decisions; verdicts are a view over thresholds."""

from __future__ import annotations

APPLICATION = 0x73656E74  # marks the file as one of mining
VERSION = 1

# No table holds a time or a count of attempts: an interrupted run that goes on leaves the rows of an uninterrupted one.
SCHEMA = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
CREATE TABLE run (id TEXT PRIMARY KEY, settings TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE detector (name TEXT PRIMARY KEY, settings TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE image (
    run TEXT, id TEXT, position INTEGER NOT NULL, path TEXT NOT NULL, question TEXT NOT NULL, sha256 TEXT,
    stop TEXT NOT NULL DEFAULT '', problem TEXT NOT NULL DEFAULT '', PRIMARY KEY (run, id)
) WITHOUT ROWID;
CREATE TABLE step (
    run TEXT, image_id TEXT, step INTEGER, context TEXT NOT NULL, rng_seed INTEGER NOT NULL, chosen INTEGER,
    status TEXT NOT NULL, PRIMARY KEY (run, image_id, step)
) WITHOUT ROWID;
CREATE TABLE candidate (
    run TEXT, image_id TEXT, step INTEGER, k INTEGER, text TEXT NOT NULL, n_tokens INTEGER NOT NULL,
    logp REAL NOT NULL, ended_with_eos INTEGER NOT NULL, PRIMARY KEY (run, image_id, step, k)
) WITHOUT ROWID;
CREATE TABLE mention (
    run TEXT, image_id TEXT, step INTEGER, k INTEGER, place INTEGER, name TEXT NOT NULL,
    PRIMARY KEY (run, image_id, step, k, place)
) WITHOUT ROWID;
CREATE TABLE object_score (
    image_sha TEXT, query TEXT, detector TEXT, score REAL, PRIMARY KEY (image_sha, query, detector)
) WITHOUT ROWID;
CREATE TABLE derivation (
    run TEXT, name TEXT, rules TEXT NOT NULL, uncertain TEXT NOT NULL, abstained REAL NOT NULL,
    PRIMARY KEY (run, name)
) WITHOUT ROWID;
CREATE TABLE threshold (
    run TEXT, derivation TEXT, detector TEXT, name TEXT, low REAL NOT NULL, high REAL NOT NULL,
    PRIMARY KEY (run, derivation, detector, name)
) WITHOUT ROWID;
CREATE TABLE pair (
    run TEXT, derivation TEXT, image_id TEXT, step INTEGER, win_k INTEGER, lose_k INTEGER, kind TEXT NOT NULL,
    PRIMARY KEY (run, derivation, image_id, step, win_k, lose_k)
) WITHOUT ROWID;
CREATE INDEX image_of_sha ON image (sha256);
CREATE VIEW verdict AS
WITH outcome AS (
    SELECT derivation.run, derivation.name AS derivation, derivation.uncertain, object_score.image_sha,
        object_score.query, CASE
            WHEN object_score.score IS NULL THEN derivation.abstained
            WHEN object_score.score >= coalesce(own.high, usual.high) THEN 1.0
            WHEN object_score.score < coalesce(own.low, usual.low) THEN 0.0
            ELSE 0.5
        END AS present
    FROM derivation
    JOIN threshold AS usual ON usual.run = derivation.run AND usual.derivation = derivation.name AND usual.name = ''
    JOIN object_score ON object_score.detector = usual.detector
    LEFT JOIN threshold AS own ON own.run = usual.run AND own.derivation = usual.derivation
        AND own.detector = usual.detector AND own.name = object_score.query
    WHERE object_score.image_sha IN (SELECT sha256 FROM image WHERE image.run = derivation.run)
)
SELECT run, derivation, image_sha, query, CASE
        WHEN min(present) = 1.0 THEN 'factual'
        WHEN max(present) = 0.0 THEN 'hallucinated'
        WHEN uncertain = 'unused' THEN 'uncertain'
        ELSE uncertain
    END AS verdict
FROM outcome GROUP BY run, derivation, image_sha, query;
"""
