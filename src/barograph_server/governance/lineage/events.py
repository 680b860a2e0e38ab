"""OpenLineage events that describe a model and its consumers as jobs, and sources as datasets; sends them."""

import importlib.metadata
import os
from collections.abc import Iterator, Sequence
from datetime import datetime

from barograph.contract import Contract, Field
from openlineage.client.event_v2 import JobEvent
from openlineage.client.serde import Serde
from openlineage.client.transport.http import HttpConfig, HttpTransport
from requests import RequestException

from barograph_server.errors import CommandError
from barograph_server.warehouse.governance.lineage import is_input

try:
    from openlineage.client import facet_v2 as facets
    from openlineage.client.event_v2 import InputDataset, Job, JobEvent, OutputDataset
except ImportError:
    raise CommandError(
        "OpenLineage events need the package openlineage-python: install the extra `lineage` of barograph-server."
    ) from None

NAMESPACE = "barograph"
"""Namespace of the jobs, and of sources that state no system."""


def openlineage_events(contract: Contract, applied_at: datetime, bootstrap_servers: str, topic: str) -> list[JobEvent]:
    """Describe a model, then each of its consumers, as jobs without runs.

    The model reads a dataset per declared source, and writes its part of the topic of predictions, which consumers
    read. The columns of that part are the fields of the contract: an input is the field of its source, an output
    depends on all inputs.

    Args:
        bootstrap_servers: the brokers; the first one is the namespace of the topic.
    """
    producer = f"urn:barograph:{importlib.metadata.version('barograph-server')}"
    facets.set_producer(producer)
    namespace, name = f"kafka://{bootstrap_servers.split(',')[0].strip()}", f"{topic}/{contract.model}"
    at = applied_at.isoformat()
    owners = tuple(filter(None, (contract.team,))) or contract.owners
    purpose = contract.description or f"Model {contract.model}, monitored by Barograph"
    part = {"schema": _schema(contract.fields), "columnLineage": _column_lineage(contract)}
    model = JobEvent(
        eventTime=at,
        job=_job(contract.model, "MODEL", owners, purpose),
        inputs=list(_inputs(contract)),
        outputs=[OutputDataset(namespace, name, facets=part)],
        producer=producer,
    )
    consumers = [
        JobEvent(
            eventTime=at,
            job=_job(
                *(f"{contract.model}.{consumer}", "CONSUMER", (declared.owner,)),
                f"Reads {', '.join(declared.fields) or 'what the model produces'} as {declared.kind} {declared.reader}",
            ),
            inputs=[InputDataset(namespace, name)],
            producer=producer,
        )
        for consumer, declared in contract.consumers.items()
    ]
    return [model, *consumers]


def _job(name: str, kind: str, owners: tuple[str, ...], description: str) -> Job:
    people = [facets.ownership_job.Owner(owner) for owner in owners]
    return Job(
        NAMESPACE,
        name,
        {
            "documentation": facets.documentation_job.DocumentationJobFacet(description),
            "jobType": facets.job_type_job.JobTypeJobFacet("STREAMING", "BAROGRAPH", kind),
            "ownership": facets.ownership_job.OwnershipJobFacet(people),
        },
    )


def _inputs(contract: Contract) -> Iterator[InputDataset]:
    fields = {field.name: field for field in contract.fields}
    for name, source in contract.declared_sources.items():
        own: dict[str, facets.DatasetFacet] = {"schema": _schema(tuple(fields[field] for field in source.fields))}
        described = {"Code": source.code, "Window": source.window}
        if text := ". ".join(f"{part}: {value}" for part, value in described.items() if value):
            own["documentation"] = facets.documentation_dataset.DocumentationDatasetFacet(text)
        if source.owner:
            owner = facets.ownership_dataset.Owner(source.owner)
            own["ownership"] = facets.ownership_dataset.OwnershipDatasetFacet([owner])
        yield InputDataset(source.system or NAMESPACE, name, facets=own)


def _schema(fields: tuple[Field, ...]) -> facets.schema_dataset.SchemaDatasetFacet:
    columns = facets.schema_dataset.SchemaDatasetFacetFields
    return facets.schema_dataset.SchemaDatasetFacet(
        [columns(field.name, field.type, field.description or None) for field in fields]
    )


def _column_lineage(contract: Contract) -> facets.column_lineage_dataset.ColumnLineageDatasetFacet:
    lineage = facets.column_lineage_dataset
    origins: dict[str, list[lineage.InputField]] = {}
    for name, source in contract.declared_sources.items():
        for field in source.fields:
            origins.setdefault(field, []).append(lineage.InputField(source.system or NAMESPACE, name, field))
    inputs = [origin for field in contract.fields if is_input(field) for origin in origins.get(field.name, ())]
    columns = {
        field.name: origins.get(field.name, []) if is_input(field) else [*inputs, *origins.get(field.name, ())]
        for field in contract.fields
    }
    return lineage.ColumnLineageDatasetFacet(
        {name: lineage.Fields(fields) for name, fields in columns.items() if fields}
    )


TOKEN_VARIABLE = "OPENLINEAGE_API_KEY"  # noqa: S105
"""The environment variable with the token of the catalogue; OpenLineage's own client reads it, too."""


def event_line(event: JobEvent) -> str:
    return Serde.to_json(event)


def post_events(events: Sequence[JobEvent], url: str) -> None:
    """Post events one by one, in their order, to `/api/v1/lineage` of a catalogue."""
    token = os.environ.get(TOKEN_VARIABLE)
    auth = {"auth": {"type": "api_key", "apiKey": token}} if token else {}
    try:
        transport = HttpTransport(HttpConfig.from_dict({"url": url, **auth}))
    except ValueError:
        raise CommandError(f"--send {url} is not a URL: write one such as http://localhost:5000.") from None
    sent = 0
    try:
        for event in events:
            transport.emit(event)
            sent += 1
    except RequestException as error:
        raise CommandError(
            f"The catalogue at {url} did not take event {sent + 1} of {len(events)}: {error}. Check the URL and "
            f"{TOKEN_VARIABLE}, and run the command again: it sends all events again."
        ) from error
    finally:
        transport.close()
