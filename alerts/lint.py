"""What must hold of alerting files before Grafana sees them: it refuses little and forgets much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from alerts.grafana import DATASOURCE, EXPRESSION, GRAFANA_DEFAULT, Json
from alerts.rule import TITLE_CHARS
from alerts.schema import FILE, QUERY_MODEL, THRESHOLD_MODEL, faults
from dashboards.macros import MacroError, TimeRange, expand_backend
from dashboards.uids import DASHBOARDS, PANELS

INTERVAL_MS = 60_000
_SOME_HOUR = TimeRange(1_767_222_000_000, 1_767_225_600_000)


def lint(files: Mapping[str, Json], runbooks: Collection[str]) -> list[str]:
    """List what is wrong, each as a sentence that begins with where.

    Args:
        files: of `to_files`, by name.
        runbooks: the names of the runbooks that there are.
    """
    found = [f"{name}: {fault}" for name, content in files.items() for fault in faults(content, FILE)]
    if found:
        return found
    rules = [rule for content in files.values() for group in content.get("groups", []) for rule in group["rules"]]
    groups = [group for content in files.values() for group in content.get("groups", [])]
    policies = [policy for content in files.values() for policy in content.get("policies", [])]
    for rule in rules:
        found += [f"{rule['title']}: {problem}" for problem in _rule(rule, runbooks)]
        found += [f"{rule['title']}: {problem}" for problem in _routed(rule, policies)]
    found += _repeated("uid", [rule["uid"] for rule in rules])
    found += _repeated("title", [f"{rule['title']}" for rule in rules])
    found += _repeated("group", [f"{group['folder']}/{group['name']}" for group in groups])
    found += [f"{group['name']}: is longer than {TITLE_CHARS}" for group in groups if len(group["name"]) > TITLE_CHARS]
    points = {point["name"] for content in files.values() for point in content.get("contactPoints", [])}
    timings = {timing["name"] for content in files.values() for timing in content.get("muteTimes", [])}
    for policy in policies:
        found += _policy(policy, points | {GRAFANA_DEFAULT}, timings)
    return found


def _rule(rule: Json, runbooks: Collection[str]) -> Iterator[str]:
    labels, annotations = rule["labels"], rule["annotations"]
    if _seconds(rule["for"]) <= 0 and labels.get("severity") == "page":
        yield "pages at its first match; give it a `for` of two evaluations"
    if len(rule["title"]) > TITLE_CHARS:
        yield f"its title has more than {TITLE_CHARS} characters"
    for label in ("team", "severity", "rule", "source"):
        if not labels.get(label):
            yield f"has no label {label}, by which it is routed"
    if labels.get("severity") not in ("page", "ticket"):
        yield f"its severity is {labels.get('severity')!r}, neither page nor ticket"
    if not annotations.get("summary"):
        yield "has no summary"
    runbook = annotations.get("runbook_url", "").rpartition("/")[2]
    if runbook not in runbooks:
        yield f"its runbook_url leads to {runbook!r}, which is no runbook"
    yield from _panel(rule)
    refs = [query["refId"] for query in rule["data"]]
    if rule["condition"] not in refs:
        yield f"its condition {rule['condition']} is none of its queries"
    if len(set(refs)) < len(refs):
        yield "two of its queries have one refId"
    for query in rule["data"]:
        yield from _query(query, refs)


def _panel(rule: Json) -> Iterator[str]:
    annotations = rule["annotations"]
    uid, panel = annotations.get("__dashboardUid__"), annotations.get("__panelId__")
    page = {uid: page for page, uid in DASHBOARDS.items()}.get(str(uid))
    if page is None or panel is None or int(panel) not in PANELS[page].values():
        yield f"links to panel {panel} of dashboard {uid}, which there is not"


def _query(query: Json, refs: Collection[str]) -> Iterator[str]:
    model, ref = query["model"], query["refId"]
    is_line = query["datasourceUid"] == EXPRESSION
    wrong = list(faults(model, THRESHOLD_MODEL if is_line else QUERY_MODEL, f"query {ref}"))
    yield from wrong
    if wrong:
        return
    if is_line:
        if model["expression"] not in refs:
            yield f"query {ref} looks at {model['expression']}, which is none of its queries"
        if "unloadEvaluator" not in model["conditions"][0]:
            yield f"query {ref} has no unloadEvaluator, so it flaps at its line"
        return
    if model["datasource"] != {"type": DATASOURCE, "uid": query["datasourceUid"]}:
        yield f"query {ref} names two data sources"
    if model["format"] != 1:
        yield f"query {ref} has the format {model['format']}; a rule's table is format 1"
    if model["intervalMs"] != INTERVAL_MS:
        yield f"query {ref} has an interval of {model['intervalMs']} ms; write {INTERVAL_MS}"
    try:
        expand_backend(model["rawSql"], _SOME_HOUR)
    except MacroError as error:
        yield f"query {ref}: {error}"


def _routed(rule: Json, policies: list[Json]) -> Iterator[str]:
    for policy in policies:
        found = [child for child in policy.get("routes", []) if _matches(child, rule["labels"])]
        if not found:
            yield "no policy takes it"
        elif not any(_matches(leaf, rule["labels"]) for leaf in found[0].get("routes", [])):
            yield "no policy of its route and severity takes it"


def _matches(policy: Json, labels: Mapping[str, str]) -> bool:
    # An absent label is an empty one. Alertmanager's other operators are not used on labels of ours.
    return all(how == "=" and labels.get(label, "") == value for label, how, value in policy["object_matchers"])


def _policy(policy: Json, points: Collection[str], timings: Collection[str]) -> Iterator[str]:
    if policy["receiver"] not in points:
        yield f"policy: the contact point {policy['receiver']!r} is not there"
    for name in policy.get("mute_time_intervals", []):
        if name not in timings:
            yield f"policy: the mute timing {name!r} is not there"
    for child in policy.get("routes", []):
        yield from _policy(child, points, timings)


def _repeated(what: str, values: list[Any]) -> list[str]:
    return [f"{value}: two have this {what}" for value, n in Counter(values).items() if n > 1]


def _seconds(duration: str) -> int:
    return int(duration[:-1]) * {"h": 3600, "m": 60, "s": 1}[duration[-1]]
