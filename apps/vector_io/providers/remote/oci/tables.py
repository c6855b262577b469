"""The tables: two a store, of its chunks and of their attributes, so that no search meets another store's rows.

A store that has grown has an index of neighbor partitions (IVF), too; a smaller one is compared row by row. The other
kind, a graph in memory (HNSW), refuses every insertion in the first releases of 23ai (ORA-51928), and needs a
VECTOR_MEMORY_SIZE, which is 0 where nobody has set it. An IVF built of an empty table would have nothing to go by.
https://docs.oracle.com/en/database/oracle/oracle-database/23/vecse/guidelines-using-vector-indexes.html

All SQL here has its numbers from this server: nothing of a caller's is ever part of a statement.
"""

from collections.abc import Iterator
from dataclasses import dataclass

MOST_NUMBERS = 65_535  # of a VECTOR
LONGEST = 4000  # bytes of a VARCHAR2, where MAX_STRING_SIZE is STANDARD

# A store is another's until `ready`: its tables are being made, or have not been dropped yet.
STORES = f"""
CREATE TABLE llamastack_stores (
    store_id NUMBER(19) GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    store_digest RAW(32) NOT NULL UNIQUE,
    tenant VARCHAR2({LONGEST} BYTE) NOT NULL,
    store_key VARCHAR2({LONGEST} BYTE) NOT NULL,
    dimension_count NUMBER(10) NOT NULL,
    ready NUMBER(1) NOT NULL
)
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A store's chunks. Texts that may be empty may be NULL, which an empty text is to Oracle."""

    store_id: int
    dimension: int

    @property
    def name(self) -> str:
        return f"llamastack_s{self.store_id}"

    @property
    def attributes(self) -> str:
        return f"{self.name}_a"

    def made(self, vector_type: str) -> Iterator[str]:
        """A row of the attributes has a digest of the key, and a text with the order of the values."""
        yield f"""
            CREATE TABLE {self.name} (
                chunk_key RAW(32) NOT NULL PRIMARY KEY,
                chunk_id VARCHAR2({LONGEST} BYTE) NOT NULL,
                file_key RAW(32) NOT NULL,
                file_id VARCHAR2({LONGEST} BYTE),
                filename VARCHAR2({LONGEST} BYTE),
                page NUMBER(19),
                position NUMBER(19) NOT NULL,
                bytes NUMBER(19) NOT NULL,
                embedding VECTOR({self.dimension}, {vector_type}) NOT NULL,
                attributes CLOB NOT NULL,
                metadata CLOB NOT NULL,
                content CLOB
            )
        """
        yield f"""
            CREATE TABLE {self.attributes} (
                chunk_key RAW(32) NOT NULL REFERENCES {self.name} (chunk_key) ON DELETE CASCADE,
                attribute_key RAW(32) NOT NULL,
                ordered VARCHAR2({LONGEST} BYTE) NOT NULL,
                PRIMARY KEY (chunk_key, attribute_key)
            )
        """
        yield f"CREATE INDEX {self.name}_f ON {self.name} (file_key, position)"
        yield f"CREATE INDEX {self.name}_o ON {self.attributes} (attribute_key, ordered)"
        yield (
            f"CREATE INDEX {self.name}_w ON {self.name} (content) "
            "INDEXTYPE IS CTXSYS.CONTEXT PARAMETERS ('SYNC (ON COMMIT)')"
        )

    def dropped(self) -> Iterator[str]:
        """Their indexes go with them. PURGE: none of it stays in the recycle bin."""
        yield f"DROP TABLE {self.attributes} PURGE"
        yield f"DROP TABLE {self.name} PURGE"

    def indexing(self, online: bool) -> str:
        """26ai builds it beside those who write; 23ai knows no ONLINE here, and has them wait."""
        return (
            f"CREATE VECTOR INDEX {self.name}_v ON {self.name} (embedding) "
            f"ORGANIZATION NEIGHBOR PARTITIONS DISTANCE DOT WITH TARGET ACCURACY 95{' ONLINE' if online else ''}"
        )
