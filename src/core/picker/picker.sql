-- Every query of the picker. {schema} is replaced by the quoted name of the backend's schema, nothing else is.

-- name: row
-- What the three tiers need of a row, in one query; a killed row resolves too. The marker in unix seconds: Python's
-- calendar has neither infinity nor all of PostgreSQL's years.
SELECT rotation.discogs_release_id, library_identity.discogs_release_id, rotation.artist_name, rotation.album_title,
       CAST(EXTRACT(EPOCH FROM rotation.tracklist_lookup_attempted_at) AS double precision)
  FROM {schema}.rotation
  LEFT JOIN {schema}.library_identity ON library_identity.library_id = rotation.album_id
 WHERE rotation.id = :rotation_id;

-- name: active
-- What the warm-up visits, with what the tiers know of each, so that the order of the visits can be planned.
SELECT rotation.id, rotation.discogs_release_id, library_identity.discogs_release_id, rotation.artist_name,
       rotation.album_title,
       CAST(EXTRACT(EPOCH FROM rotation.tracklist_lookup_attempted_at) AS double precision)
  FROM {schema}.rotation
  LEFT JOIN {schema}.library_identity ON library_identity.library_id = rotation.album_id
 WHERE kill_date IS NULL OR kill_date > CURRENT_DATE;

-- name: mark_attempt
-- The negative marker: LML definitely knows nothing of this row. The one thing that is ever written to the database.
UPDATE {schema}.rotation
   SET tracklist_lookup_attempted_at = :attempted_at
 WHERE id = :rotation_id;

-- name: live_activity
-- Whether a DJ is on air. Only the newest 100 entries are looked at, by the primary key, since an index on add_time
-- cannot be relied on; nobody logs a hundred in the minute that is asked for.
SELECT EXISTS (
    SELECT
      FROM (SELECT entry_type, add_time FROM {schema}.flowsheet ORDER BY id DESC LIMIT 100) AS newest
     WHERE entry_type = 'track'
       AND add_time > :since
);

-- name: ping
-- Whether the database still answers.
SELECT 1;
