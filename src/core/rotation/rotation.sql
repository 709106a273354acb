-- Every query of the refresh. {schema} is replaced by the quoted name of the backend's schema, nothing else is.
-- A row is active until the day it is killed: kill_date is null or lies after today, by the database's own calendar.

-- name: begin
-- One snapshot for all queries, so that the pages and the counts belong together; read-only, whatever the role may do.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL statement_timeout = :statement_timeout;

-- name: coverage
-- How many active rows, and how many of those that Discogs can resolve, carry the identity that LML needs.
SELECT count(*) FILTER (WHERE discogs_release_id IS NOT NULL),
       count(*) FILTER (WHERE discogs_release_id IS NOT NULL AND lml_identity_id IS NOT NULL),
       count(*),
       count(lml_identity_id)
  FROM {schema}.rotation
 WHERE kill_date IS NULL OR kill_date > CURRENT_DATE;

-- name: uncovered_rows
-- The rows that coverage lacks: for whoever has to give them an identity before a deployment.
SELECT id, rotation_bin::text, artist_name, album_title
  FROM {schema}.rotation
 WHERE (kill_date IS NULL OR kill_date > CURRENT_DATE)
   AND discogs_release_id IS NOT NULL
   AND lml_identity_id IS NULL
 ORDER BY id;

-- name: unusable_ids
-- Active rows whose identity LML would skip.
SELECT count(*)
  FROM {schema}.rotation
 WHERE (kill_date IS NULL OR kill_date > CURRENT_DATE)
   AND lml_identity_id <= 0;

-- name: identity_page
-- The next page of identities, each once although rows share them; goes on after the last id of the page before.
SELECT DISTINCT lml_identity_id
  FROM {schema}.rotation
 WHERE (kill_date IS NULL OR kill_date > CURRENT_DATE)
   AND lml_identity_id > :after
 ORDER BY lml_identity_id
 LIMIT :page_size;

-- name: rows_of
-- The active rows of some identities: what a person is shown of the stale ones.
SELECT id, rotation_bin::text, artist_name, album_title, lml_identity_id
  FROM {schema}.rotation
 WHERE (kill_date IS NULL OR kill_date > CURRENT_DATE)
   AND lml_identity_id = ANY(CAST(:identity_ids AS bigint[]))
 ORDER BY id;
