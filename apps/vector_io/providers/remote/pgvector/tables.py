"""The tables: one a dimension, of which each store is a partition, so that no search meets another store's rows.

Nobody asks the table as a whole. A partition is asked by its own name, has its own indexes, and goes in one moment when
its store is dropped. One that has grown has an HNSW index, too; a smaller one is compared row by row.
"""

from dataclasses import dataclass

MOST_INDEXED = 2000  # numbers of a `vector`; twice as many of a `halfvec`
MOST_NUMBERS = 16_000
IN_THE_ROW = 7000  # bytes of a vector: a page has 8 kB, and who scans must not fetch each vector from elsewhere
LANGUAGE = "english"
LONGEST_INDEXED = 200_000  # characters of a text: a tsvector has at most 1 MB

SCHEMA = """
CREATE SCHEMA IF NOT EXISTS vector_io;
CREATE TABLE IF NOT EXISTS vector_io.stores (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL,
    key text NOT NULL,
    dimension integer NOT NULL,
    UNIQUE (tenant, key)
);
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A store's partition."""

    number: int
    dimension: int

    @property
    def name(self) -> str:
        return f"vector_io.store_{self.number}"

    @property
    def index(self) -> str:
        return f"store_{self.number}_near"

    @property
    def type(self) -> str:
        """Of the column: of half the precision where HNSW could not index it else."""
        return "halfvec" if MOST_INDEXED < self.dimension <= 2 * MOST_INDEXED else "vector"

    @property
    def can_be_indexed(self) -> bool:
        return self.dimension <= 2 * MOST_INDEXED

    @property
    def parent(self) -> str:
        return f"vector_io.chunks_{self.dimension}"

    def partition(self) -> str:
        """What locks the parent alone: nobody asks it."""
        return f"CREATE TABLE {self.name} PARTITION OF {self.parent} FOR VALUES IN ({self.number})"

    def first(self) -> str:
        """The parent, for the first store of its dimension: later, this would lock all of its stores."""
        size = self.dimension * (2 if self.type == "halfvec" else 4)
        storage = "PLAIN" if size <= IN_THE_ROW else "EXTERNAL"
        return f"""
            CREATE TABLE {self.parent} (
                store integer NOT NULL,
                id text COLLATE "C" NOT NULL,
                file_id text NOT NULL,
                filename text NOT NULL,
                page integer,
                position integer NOT NULL,
                bytes integer NOT NULL,
                content text NOT NULL,
                metadata text NOT NULL,
                attributes jsonb NOT NULL,
                embedding {self.type}({self.dimension}) NOT NULL,
                words tsvector GENERATED ALWAYS AS (
                    to_tsvector('{LANGUAGE}', left(content, {LONGEST_INDEXED}))
                ) STORED,
                PRIMARY KEY (id, store)
            ) PARTITION BY LIST (store);
            ALTER TABLE {self.parent} ALTER COLUMN embedding SET STORAGE {storage};
            CREATE INDEX chunks_{self.dimension}_places ON {self.parent} (file_id, position, id) INCLUDE (bytes);
            CREATE INDEX chunks_{self.dimension}_attributes ON {self.parent} USING gin (attributes);
            CREATE INDEX chunks_{self.dimension}_words ON {self.parent} USING gin (words);
        """

    def indexing(self) -> str:
        return (
            f"CREATE INDEX CONCURRENTLY {self.index} ON {self.name} "
            f"USING hnsw (embedding {self.type}_ip_ops) WITH (m = 16, ef_construction = 64)"
        )
