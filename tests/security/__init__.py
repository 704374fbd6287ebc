"""The security table: bad input and attacks, and what must come of them.

Each test has the number of its row in its name; docs/security.rst has the table's claims
in words, and those that no test can show.
"""
