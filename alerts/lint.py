"""Lint rules for alerting files. Grafana rejects little and silently ignores much, so these checks run first."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from barograph_server.alerts.grafana import DATASOURCE, EXPRESSION, Json
from barograph_server.alerts.rule import TITLE_CHARS
from barograph_server.alerts.schema import FILE, QUERY_MODEL, THRESHOLD_MODEL, faults
from barograph_server.dashboards.macros import MacroError, TimeRange, expand_backend
from barograph_server.dashboards.page_files import panel_ids, read_rows
from barograph_server.dashboards.uids import DASHBOARDS
from barograph_server.warehouse.panels.named import named_queries

INTERVAL_MS = 60_000
RESERVED = ("alertname", "grafana_folder", "rulename", "datasource_uid", "ref_id", "incident")
"""Labels that Grafana, or we, set besides those of a rule."""
OTHER_TABLES = frozenset(
    {"label-stop", "undeclared-reader", "guard-silent", "field-slo", "reviewer-agreement", "gold-labels", "judge-drift"}
)
"""Rules whose panel shows what they are about from other tables; their number is in the message."""
_KEY = re.compile(r"\w+ key AS (\w+), ")
_WITH = re.compile(r"(\w+) AS \(")
_FROM = re.compile(r"\b(?:FROM|JOIN)\s+(\w+)")
_SOME_HOUR = TimeRange(1_767_222_000_000, 1_767_225_600_000)


def lint(files: Mapping[str, Json], runbooks: Collection[str]) -> list[str]:
    """List problems, each as a sentence that starts with its location.

    Args:
        files: result of `to_files`, by name.
        runbooks: file names of the existing runbooks.
    """
    problems = [f"{name}: {fault}" for name, content in files.items() for fault in faults(content, FILE)]
    if problems:
        return problems
    groups = [group for content in files.values() for group in content.get("groups", [])]
    rules = [rule for group in groups for rule in group["rules"]]
    policies = [policy for content in files.values() for policy in content.get("policies", [])]
    for rule in rules:
        problems += [f"{rule['title']}: {problem}" for problem in _rule(rule, runbooks)]
        problems += [f"{rule['title']}: {problem}" for problem in _routed(rule, policies)]
    problems += _repeated("uid", [rule["uid"] for rule in rules])
    problems += _repeated("title", [f"{rule['title']}" for rule in rules])
    problems += _repeated("group", [f"{group['folder']}/{group['name']}" for group in groups])
    problems += [
        f"{group['name']}: is longer than {TITLE_CHARS}" for group in groups if len(group["name"]) > TITLE_CHARS
    ]
    points = {point["name"] for content in files.values() for point in content.get("contactPoints", [])}
    timings = {timing["name"] for content in files.values() for timing in content.get("muteTimes", [])}
    for policy in policies:
        problems += _policy(policy, points, timings)
    return problems


def _rule(rule: Json, runbooks: Collection[str]) -> Iterator[str]:
    labels, annotations = rule["labels"], rule["annotations"]
    if _seconds(rule["for"]) <= 0 and labels.get("severity") == "page":
        yield "pages at its first evaluation; set `for` to two evaluations"
    if len(rule["title"]) > TITLE_CHARS:
        yield f"its title is longer than {TITLE_CHARS} characters"
    for label in ("team", "severity", "rule", "source"):
        if not labels.get(label):
            yield f"has no label {label}, which routing needs"
    if labels.get("severity") not in ("page", "ticket"):
        yield f"its severity is {labels.get('severity')!r}, neither page nor ticket"
    if not annotations.get("summary"):
        yield "has no summary"
    runbook = annotations.get("runbook_url", "").rpartition("/")[2]
    if runbook.removesuffix(".html") + ".md" not in runbooks:
        yield f"its runbook_url leads to {runbook!r}, which is not a runbook"
    yield from _panel(rule)
    refs = [query["refId"] for query in rule["data"]]
    key = _KEY.match(rule["data"][0]["model"].get("rawSql", ""))
    if key and key[1] in {*labels, *RESERVED}:
        yield f"the label {key[1]} of its query is also one of its own, which hides it, so that instances become one"
    if rule["condition"] not in refs:
        yield f"its condition {rule['condition']} is not one of its queries"
    if len(set(refs)) < len(refs):
        yield "two of its queries share a refId"
    for query in rule["data"]:
        yield from _query(query, refs)


def _panel(rule: Json) -> Iterator[str]:
    annotations = rule["annotations"]
    uid, panel = annotations.get("__dashboardUid__"), annotations.get("__panelId__")
    page = {uid: page for page, uid in DASHBOARDS.items()}.get(str(uid))
    if page is None or panel is None or int(panel) not in panel_ids(page).values():
        yield f"links to panel {panel} of dashboard {uid}, which does not exist"
        return
    if f"/d/{uid}?viewPanel={panel}" not in annotations.get("page", ""):
        yield f"its message links {annotations.get('page')!r}, not panel {panel} of dashboard {uid}"
    queries = (
        query for row in read_rows(page) for each in row.panels if each.id == int(panel) for query in each.queries
    )
    shown = set().union(*(_sources(named_queries()[query].sql) for query in queries))
    read = _sources(next((query["model"].get("rawSql", "") for query in rule["data"]), ""))
    if read.isdisjoint(shown) and rule["labels"].get("rule") not in OTHER_TABLES:
        yield f"panel {panel} of dashboard {uid} reads {', '.join(sorted(shown))}, the rule {', '.join(sorted(read))}"


def _sources(sql: str) -> set[str]:
    """The tables and views that a query reads; of `latest_drift` and `drift`, both read the table `drift`."""
    named = {*_FROM.findall(sql)} - {*_WITH.findall(sql)}
    return {name.removeprefix("latest_").removeprefix("all_") for name in named}


def _query(query: Json, refs: Collection[str]) -> Iterator[str]:
    model, ref = query["model"], query["refId"]
    is_threshold = query["datasourceUid"] == EXPRESSION
    wrong = list(faults(model, THRESHOLD_MODEL if is_threshold else QUERY_MODEL, f"query {ref}"))
    yield from wrong
    if wrong:
        return
    if is_threshold:
        if model["expression"] not in refs:
            yield f"query {ref} evaluates {model['expression']}, which is not one of its queries"
        if "unloadEvaluator" not in model["conditions"][0]:
            yield f"query {ref} has no unloadEvaluator, so it flaps at its threshold"
        return
    if model["datasource"] != {"type": DATASOURCE, "uid": query["datasourceUid"]}:
        yield f"query {ref} names two data sources"
    if model["format"] != 1:
        yield f"query {ref} has format {model['format']}; rules need format 1 (table)"
    if model["intervalMs"] != INTERVAL_MS:
        yield f"query {ref} has an interval of {model['intervalMs']} ms; write {INTERVAL_MS}"
    try:
        expand_backend(model["rawSql"], _SOME_HOUR)
    except MacroError as error:
        yield f"query {ref}: {error}"


def _routed(rule: Json, policies: list[Json]) -> Iterator[str]:
    for policy in policies:
        children = [child for child in policy.get("routes", []) if _matches(child, rule["labels"])]
        if not children:
            yield "no policy matches it"
        elif not any(_matches(leaf, rule["labels"]) for leaf in children[0].get("routes", [])):
            yield "no policy matches its route and severity"


def _matches(policy: Json, labels: Mapping[str, str]) -> bool:
    # A missing label equals the empty string. Our policies use no other operators on these labels.
    return all(how == "=" and labels.get(label, "") == value for label, how, value in policy["object_matchers"])


def _policy(policy: Json, points: Collection[str], timings: Collection[str]) -> Iterator[str]:
    if policy["receiver"] not in points:
        yield f"policy: the contact point {policy['receiver']!r} is not defined"
    for name in policy.get("mute_time_intervals", []):
        if name not in timings:
            yield f"policy: the mute timing {name!r} is not defined"
    for child in policy.get("routes", []):
        yield from _policy(child, points, timings)


def _repeated(what: str, values: list[Any]) -> list[str]:
    return [f"{value}: this {what} is used twice" for value, n in Counter(values).items() if n > 1]


def _seconds(duration: str) -> int:
    return int(duration[:-1]) * {"h": 3600, "m": 60, "s": 1}[duration[-1]]
