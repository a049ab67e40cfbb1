"""`lookup` beside DuckDB and chDB, which read the same PostgreSQL tables, join them themselves, and write the same CSV.

compare.py PROGRAM [TASKS] [RUNS]: a Markdown table of seconds and of ratios to `lookup`, as medians (min…max) of runs that alternate.
The engines are measured within a process that is up and connected, and may write the rows in any order; the program is measured
as a whole, from its start to its end. Each file is held against psql's, line by line, before anything is measured.
"""

import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import chdb.session
import duckdb
import duckdb_extension_postgres_scanner as scanner

sys.path.append(str(Path(__file__).parents[1] / "shared"))
from alternating import arguments, cluster, seconds, spread

COLUMNS = """
    t.id as "ID", t.title as "Title", a.name as "Asset", l.name as "Asset Location",
    case when t.done then 'Done' else 'Not Done' end as "Done", c.username as "Created By", u.username as "Updated By"
"""
JOINED = """from {tasks} t join {assets} a on a.id = t.asset_id join {locations} l on l.id = a.location_id
    join {users} c on c.id = t.created_by_id left join {users} u on u.id = t.updated_by_id"""
TABLES = ("tasks", "assets", "locations", "users")


def main():
    program, tasks, runs = arguments(tasks=1_000_000)
    with cluster(program, tasks) as (url, environment, directory):
        measure(program, url, environment, directory, runs)


def measure(program, url, environment, directory, runs):
    socket = parse_qs(urlsplit(url).query)["host"][0]

    database = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    extension = next(Path(scanner.__file__).parent.rglob("*.duckdb_extension"))
    database.execute(f"load '{extension}'")
    database.execute(f"attach 'host={socket} user=cmms dbname=cmms' as pg (type postgres, read_only)")
    in_duckdb = JOINED.format(**{table: f"pg.{table}" for table in TABLES})

    session = chdb.session.Session()
    named = {table: f"postgresql('{socket}:5432', 'cmms', '{table}', 'cmms', '')" for table in TABLES}
    # A missing row's columns are NULL, as SQL has it.
    in_chdb = JOINED.format(**named) + " settings join_use_nulls = 1"

    def file(name):
        return directory / f"{name}.csv"

    def by_program(strategy):
        command = [program, "export", "--strategy", strategy, "--output", str(file(strategy))]
        subprocess.run(command, env=environment, check=True)

    def by_duckdb():
        database.execute(f"copy (select {COLUMNS} {in_duckdb}) to '{file('DuckDB')}' (format csv, header)")

    def by_chdb():
        file("chDB").unlink(missing_ok=True)
        session.query(f"select {COLUMNS} {in_chdb} into outfile '{file('chDB')}' format CSVWithNames")

    ways = {
        "lookup": lambda: by_program("lookup"),
        "copy": lambda: by_program("copy"),
        "DuckDB": by_duckdb,
        "chDB": by_chdb,
    }
    taken = seconds(ways, file, runs)
    print("| | seconds | / `lookup` |\n|---|---:|---:|")
    for name, times in taken.items():
        ratios = [one / own for one, own in zip(times, taken["lookup"])]
        print(f"| {name} | {spread(times)} | {spread(ratios)} |")


main()
