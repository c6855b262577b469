"""A stand-in for Oracle's database at the border of its driver: what the provider uses of `oracledb`, on SQLite.

It is written from Oracle's SQL Language, AI Vector Search and Text references, and the driver's documentation. Each
statement is parsed as Oracle's SQL (by sqlglot), must be one of those it knows, and is executed as SQLite's. What
Oracle would refuse is refused by Oracle's own number, in the driver's own exceptions.

errors.py      those exceptions
statements.py  Oracle's SQL: what is taken, and as what SQLite gets it
tables.py      columns with Oracle's types and their checks
text.py        Oracle Text: queries and scores
database.py    one database, which is a file: sessions, transactions, locks of rows
driver.py      the driver's functions and classes
"""
