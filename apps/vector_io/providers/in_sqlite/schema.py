"""A store's file: its chunks, the words in them, and what has changed for whoever keeps the vectors in memory.

Chunks of one file mostly have the same attributes, so that these stand once. A chunk's number is never used again.
`changes` has the chunks that are gone or have other attributes: what is new has a higher number than all before.
"""

SCHEMA = """
CREATE TABLE store (tenant TEXT NOT NULL, key TEXT NOT NULL, dimension INTEGER NOT NULL);
CREATE TABLE attribute_sets (number INTEGER PRIMARY KEY AUTOINCREMENT, attributes TEXT NOT NULL UNIQUE);
CREATE TABLE chunks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    file_id TEXT NOT NULL,
    filename TEXT NOT NULL,
    page INTEGER,
    position INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    attribute_set INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    content TEXT NOT NULL
);
CREATE INDEX chunks_in_files ON chunks (file_id, position, id, bytes);
CREATE INDEX chunks_by_attributes ON chunks (attribute_set);
CREATE TABLE changes (version INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER NOT NULL);
CREATE VIRTUAL TABLE words USING fts5 (
    content, content='chunks', content_rowid='number', tokenize="porter unicode61 remove_diacritics 2"
);
CREATE TRIGGER chunk_added AFTER INSERT ON chunks BEGIN
    INSERT INTO words (rowid, content) VALUES (new.number, new.content);
END;
CREATE TRIGGER chunk_gone AFTER DELETE ON chunks BEGIN
    INSERT INTO words (words, rowid, content) VALUES ('delete', old.number, old.content);
    INSERT INTO changes (number) VALUES (old.number);
END;
CREATE TRIGGER chunk_described AFTER UPDATE OF attribute_set ON chunks BEGIN
    INSERT INTO changes (number) VALUES (new.number);
END;
"""
