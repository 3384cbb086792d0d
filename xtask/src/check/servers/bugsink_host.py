"""Bugsink with a database of its own in the current directory.

    bugsink_host.py serve      makes the database and one project, says where it listens and the project's key, serves
    bugsink_host.py events     the events that it holds, one line of JSON each, as Bugsink itself reads them back
"""

import json
import os
import sys

SETTINGS = """
from bugsink.settings.default import *

SECRET_KEY = "for this machine alone"
ALLOWED_HOSTS = ["127.0.0.1"]
DATABASES["default"]["NAME"] = "db.sqlite3"
DATABASES["snappea"]["NAME"] = "snappea.sqlite3"
SNAPPEA = {"TASK_ALWAYS_EAGER": True}
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
BUGSINK = {"BASE_URL": "http://127.0.0.1:8000", "SINGLE_USER": True, "PHONEHOME": False, "FEATURE_MINIDUMPS": True}
"""

with open("bugsink_conf.py", "w") as file:
    file.write(SETTINGS)
sys.path.insert(0, os.getcwd())
os.environ["DJANGO_SETTINGS_MODULE"] = "bugsink_conf"

import django  # noqa: E402

django.setup()

from django.core.management import call_command  # noqa: E402
from events.models import Event  # noqa: E402
from projects.models import Project  # noqa: E402


def serve():
    for database in ["default", "snappea"]:
        call_command("migrate", database=database, verbosity=0)
    from wsgiref.simple_server import make_server

    from django.core.wsgi import get_wsgi_application

    project = Project.objects.create(name="foretrace")
    server = make_server("127.0.0.1", 0, get_wsgi_application())
    print(f"listening on http://{project.sentry_key.hex}@127.0.0.1:{server.server_port}/{project.id}", flush=True)
    server.serve_forever()


def events():
    for event in Event.objects.all():
        data = event.get_parsed_data()
        data["issue"] = f"{event.calculated_type}: {event.calculated_value}"
        print(json.dumps(data))


{"serve": serve, "events": events}[sys.argv[1]]()
