"""A Django project with nothing but the models of a CMMS, on the database that the environment (PGHOST, ...) names."""

import sys

from django.conf import settings
from django.core.management import execute_from_command_line

settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "cmms"],
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
execute_from_command_line(sys.argv)
