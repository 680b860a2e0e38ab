"""`barograph drill clean`: removes what interrupted drills left: their namespaces, or models in production's tables."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from barograph_server.drills.derived_model import run_of
from barograph_server.drills.run import live_models
from barograph_server.drills.run.scratch import TIMEOUT_S, database_prefix, remove_namespace, topics_prefix
from barograph_server.settings import Settings
from barograph_server.streams.broker.client import Admin
from barograph_server.warehouse.client import connect
from barograph_server.warehouse.operations import drill_rows, server
from barograph_server.warehouse.operations.processor_reports import report_age_s

IN_USE_S = 60
"""A namespace whose processors reported so recently belongs to a drill that runs; they report every second."""


def clean(settings: Settings, *, running: bool = False) -> Iterator[str]:
    """Remove scratch namespaces and models that no drill uses, and yield a sentence for each.

    Args:
        running: whether those of running drills are removed too; these drills end.
    """
    admin = Admin(settings.bootstrap_servers, settings.kafka)
    databases, topics = database_prefix(settings), topics_prefix(settings)
    with connect(settings.warehouse) as client:
        run_ids = {name.removeprefix(databases) for name in server.databases(client, databases)}
        in_use = {run_id for run_id in run_ids if report_age_s(client, f"{databases}{run_id}") < IN_USE_S}
        models: defaultdict[str, set[str]] = defaultdict(set)
        for model in drill_rows.leftovers(client):
            models[run_of(model)].add(model)
        in_use |= {run_of(model) for model in drill_rows.in_use(client)}
    for name in admin.client.list_topics(timeout=TIMEOUT_S).topics:
        if name.startswith(topics):
            run_ids.add(name.removeprefix(topics).partition("-")[0])
    if not run_ids and not models:
        yield "There is nothing to remove."
    for run_id in sorted(run_ids | models.keys()):
        if run_id in in_use and not running:
            yield f"{run_id}: a drill is running; --running stops it."
            continue
        if run_id in models:
            with connect(settings.warehouse) as client:
                live_models.remove(settings, client, models[run_id])
        if run_id in run_ids:
            database = replace(settings.warehouse, database=f"{databases}{run_id}")
            remove_namespace(replace(settings, warehouse=database, topic_prefix=f"{topics}{run_id}-"))
        yield f"{run_id}: removed."
