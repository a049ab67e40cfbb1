"""The article's four ways to export with Django, each beside ours that does the same.

compare.py PROGRAM [TASKS] [RUNS]: a Markdown table of seconds and of ratios, as medians (min…max) of runs that alternate. Django is
measured within a process that is up and connected, writing with Python's `csv`; the program is measured as a whole, from its start to
its end. Each file is held against the others, line by line, before anything is measured.
"""

import csv
import subprocess
import sys
from pathlib import Path

import django
from django.conf import settings
from django.db import connection, models
from django.db.models import Case, Value, When
from psycopg.conninfo import conninfo_to_dict

sys.path.append(str(Path(__file__).parents[1] / "shared"))
from alternating import arguments, cluster, seconds, spread

HEADER = ["ID", "Title", "Asset", "Asset Location", "Done", "Created By", "Updated By"]
COLUMNS = ["id", "title", "asset__name", "asset__location__name", "is_done", "created_by__username", "updated_by__username"]
PAIRS = {"`.all()`": "joined", "`.values()`": "tuples", "`.iterator()`": "paged", "`COPY`": "copy"}


def main():
    program, tasks, runs = arguments(tasks=100_000)
    with cluster(program, tasks) as (url, environment, directory):
        server = conninfo_to_dict(url)
        database = {"ENGINE": "django.db.backends.postgresql", "NAME": server.pop("dbname"), "OPTIONS": server}
        settings.configure(DATABASES={"default": database})
        django.setup()

        def file(name):
            return directory / f"{name.strip('`')}.csv"

        def by_program(strategy):
            command = [program, "export", "--strategy", strategy, "--output", str(file(strategy))]
            subprocess.run(command, env=environment, check=True)

        ways = {name: lambda name=name, way=way: way(file(name)) for name, way in by_django().items()}
        ways |= {ours: lambda ours=ours: by_program(ours) for ours in PAIRS.values()}
        taken = seconds(ways, file, runs)
    print("| Django | seconds | ours | seconds | times as fast |\n|---|---:|---|---:|---:|")
    for name, ours in PAIRS.items():
        ratios = [one / own for one, own in zip(taken[name], taken[ours])]
        print(f"| {name} | {spread(taken[name])} | `{ours}` | {spread(taken[ours])} | {spread(ratios, 1)} |")


def by_django():
    """What writes a file in each of the article's ways."""

    def model(name, /, **fields):
        meta = type("Meta", (), {"app_label": "cmms", "managed": False, "db_table": f"{name.lower()}s"})
        return type(name, (models.Model,), {"__module__": __name__, "Meta": meta, **fields})

    def key(to, **options):
        return models.ForeignKey(to, models.PROTECT, related_name="+", **options)

    Location = model("Location", name=models.CharField(max_length=100))
    User = model("User", username=models.CharField(max_length=100))
    Asset = model("Asset", name=models.CharField(max_length=100), description=models.TextField(), location=key(Location))
    Task = model(
        "Task",
        title=models.CharField(max_length=100),
        description=models.TextField(),
        done=models.BooleanField(),
        asset=key(Asset),
        created_by=key(User),
        updated_by=key(User, null=True),
    )
    tasks = Task.objects.order_by("id")
    done = Case(When(done=True, then=Value("Done")), default=Value("Not Done"))
    values = tasks.annotate(is_done=done)

    def write(path, rows):
        with open(path, "w", newline="") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(HEADER)
            writer.writerows(rows)

    def of(task):
        updated_by = task.updated_by and task.updated_by.username
        done = "Done" if task.done else "Not Done"
        return task.id, task.title, task.asset.name, task.asset.location.name, done, task.created_by.username, updated_by

    def all_tasks(path):
        # A list, as a queryset keeps what it has loaded.
        write(path, map(of, list(tasks.select_related("asset__location", "created_by", "updated_by"))))

    def all_values(path):
        write(path, (row.values() for row in list(values.values(*COLUMNS))))

    def iterator(path):
        write(path, (row.values() for row in values.values(*COLUMNS).iterator(chunk_size=2000)))

    def copy(path):
        query, parameters = values.values_list(*COLUMNS).query.sql_with_params()
        with connection.cursor() as cursor, open(path, "wb") as out:
            out.write(",".join(HEADER).encode() + b"\n")
            with cursor.copy(f"COPY ({query}) TO STDOUT WITH (FORMAT csv)", parameters) as rows:
                out.writelines(rows)

    return dict(zip(PAIRS, [all_tasks, all_values, iterator, copy]))


main()
