"""What Django's inspectdb and its introspection find: the same through the gate as at the database itself.

Reads PGHOST, PGPORT, PGUSER, PGPASSWORD (the token), PGDATABASE, PGSSLMODE from the environment.
"""
import json
import os
import sys
import types

import django
from django.conf import settings
from django.core.management import call_command

settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": os.environ["PGHOST"],
            "PORT": os.environ["PGPORT"],
            "USER": os.environ["PGUSER"],
            "PASSWORD": os.environ["PGPASSWORD"],
            "NAME": os.environ["PGDATABASE"],
        }
    },
    INSTALLED_APPS=["shop"],
    USE_TZ=True,
)
sys.modules["shop"] = types.ModuleType("shop")
sys.modules["shop"].__path__ = []
sys.modules["shop"].__file__ = __file__
django.setup()

from django.db import connection, models, transaction  # noqa: E402  (after the settings)

call_command("inspectdb", "--include-views", "--include-partitions", "--no-color")
with connection.cursor() as cursor:
    see = connection.introspection
    tables = sorted(see.get_table_list(cursor))
    print(json.dumps(tables))
    for table in tables:
        print(table.name, see.get_table_description(cursor, table.name))
        print(see.get_relations(cursor, table.name), see.get_constraints(cursor, table.name))
        print(see.get_sequences(cursor, table.name), see.get_primary_key_columns(cursor, table.name))


class Customer(models.Model):
    name = models.TextField()
    card_number = models.TextField()

    class Meta:
        app_label, managed, db_table = "shop", False, "customers"


class Order(models.Model):
    customer = models.ForeignKey(Customer, models.DO_NOTHING)

    class Meta:
        app_label, managed, db_table = "shop", False, "orders"


with transaction.atomic():
    assert Customer.objects.order_by("id").first().card_number
    print(list(Customer.objects.filter(id__in=[1, 2]).order_by("id").values_list("id", "name")))
    made = Order.objects.create(customer_id=2)
    assert Order.objects.select_related("customer").get(pk=made.pk).customer.name == "Customer 2"
    transaction.set_rollback(True)
