"""Makes the role that the services have in PostgreSQL: it may call the budgets' functions, and touches no table."""

import os

import psycopg
from psycopg import sql

with psycopg.connect(os.environ["ADMIN_URL"], autocommit=True) as server:
    if not server.execute("SELECT 1 FROM pg_roles WHERE rolname = 'app'").fetchone():
        server.execute("CREATE ROLE app")
    password = sql.Literal(os.environ["APP_PASSWORD"])
    server.execute(sql.SQL("ALTER ROLE app LOGIN PASSWORD {}").format(password))
    server.execute("GRANT USAGE ON SCHEMA claudetrace TO app")
    for function in ("exchange_v1", "look_v1"):
        server.execute(f"GRANT EXECUTE ON FUNCTION claudetrace.{function}(jsonb) TO app")
