-- The backend's tables as the stand-in keeps them. {schema} and {password} are replaced by a quoted name and a literal.

-- name: schema
CREATE SCHEMA {schema};

-- name: tables
-- In the backend freq_enum lies in public; here beside its table, so that a borrowed database gets a schema, no more.
SET search_path TO {schema};

CREATE TYPE freq_enum AS ENUM ('S', 'L', 'M', 'H');

CREATE TABLE rotation (
    id serial PRIMARY KEY,
    album_id integer,
    rotation_bin freq_enum NOT NULL,
    add_date date NOT NULL DEFAULT CURRENT_DATE,
    kill_date date,
    artist_name varchar(128),
    album_title varchar(128),
    record_label varchar(128),
    discogs_release_id integer CHECK (discogs_release_id > 0),
    tracklist_lookup_attempted_at timestamptz,
    lml_identity_id integer  -- without an index, as in the backend
);

CREATE TABLE library_identity (
    library_id integer PRIMARY KEY,
    discogs_release_id integer
);

CREATE TYPE flowsheet_entry_type AS ENUM (
    'track', 'show_start', 'show_end', 'dj_join', 'dj_leave', 'talkset', 'breakpoint', 'message'
);

CREATE TABLE flowsheet (
    id serial PRIMARY KEY,
    entry_type flowsheet_entry_type NOT NULL,
    add_time timestamptz NOT NULL DEFAULT now()
);

-- name: reader
-- The role that the functions connect as, with the grants that the README asks for.
CREATE ROLE rotation_reader LOGIN PASSWORD {password};
GRANT USAGE ON SCHEMA {schema} TO rotation_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO rotation_reader;
GRANT UPDATE (tracklist_lookup_attempted_at) ON {schema}.rotation TO rotation_reader;

-- name: empty
TRUNCATE {schema}.rotation, {schema}.library_identity, {schema}.flowsheet;

-- name: rotation
COPY {schema}.rotation (id, album_id, rotation_bin, add_date, kill_date, artist_name, album_title, record_label,
                        discogs_release_id, lml_identity_id) FROM STDIN (FORMAT csv);

-- name: library_identity
COPY {schema}.library_identity (library_id, discogs_release_id) FROM STDIN (FORMAT csv);

-- name: next_id
-- Rows that somebody adds by hand go on after the loaded ones.
SELECT setval(pg_get_serial_sequence('{schema}.rotation', 'id'), (SELECT coalesce(max(id), 1) FROM {schema}.rotation));
