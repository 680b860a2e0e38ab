"""Text output of a plan, one line per change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from barograph_server.cli.apply_grafana import grafana_lines
from barograph_server.provisioning.catalogue import ALWAYS_S, BaselineChange, ContractChange
from barograph_server.provisioning.plan import Plan
from barograph_server.provisioning.promotions import Promotion
from barograph_server.provisioning.topics import TopicChange
from barograph_server.terminal import plural, utc_second


def plan_lines(plan: Plan) -> list[str]:
    """Describe a plan: `+` marks an addition, `~` a change, `!` a note. Empty for an empty plan without notes."""
    lines = []
    if plan.database:
        lines.append(f"+ database {plan.database}")
    lines += [f"+ tables: migration {migration}" for migration in plan.migrations]
    lines += [f"~ table {ttl.table}: kept {ttl.current_days} → {ttl.days} days of event time" for ttl in plan.ttls]
    for topic in plan.topics:
        lines += _topic_lines(topic)
    changed = {change.spec.name for change in plan.topics}
    lines += [f"~ topic {name}: record id and partitions" for name in plan.topic_records if name not in changed]
    lines += [_baseline_line(change) for change in plan.baselines]
    lines += [f"+ codebook {each.id}: {plural(len(each.header.names), 'topic')}" for each in plan.codebooks]
    for contract in plan.contracts:
        lines += _contract_lines(contract)
    lines += [_promotion_line(promotion) for promotion in plan.promotions]
    if plan.grafana is not None:
        lines += grafana_lines(plan.grafana)
    return lines + [f"! {note}" for note in plan.notes]


def _topic_lines(change: TopicChange) -> Iterator[str]:
    spec = change.spec
    if change.create:
        settings = ", ".join(_describe_settings({**spec.enforced, **spec.initial}))
        yield f"+ topic {spec.name}: {plural(spec.partitions, 'partition')}, {settings}"
        return
    if change.grow_from is not None:
        yield f"~ topic {spec.name}: {change.grow_from} → {plural(spec.partitions, 'partition')}"
    for key, (old, new) in (change.settings or {}).items():
        yield f"~ topic {spec.name}: {key} {old or 'not set'} → {new}"


def _describe_settings(settings: Mapping[str, str]) -> Iterator[str]:
    for key, value in settings.items():
        if key == "message.timestamp.type":
            yield "broker timestamps"
        elif key == "retention.ms":
            yield f"retention {int(value) // 86_400_000} days"
        elif key == "max.message.bytes":
            yield f"messages up to {int(value) >> 20} MiB"


def _baseline_line(change: BaselineChange) -> str:
    baseline = change.baseline
    what = f"baseline {change.baseline_id} of {baseline.model} version {baseline.version}"
    rows = f"{baseline.rows:,} rows, {len(baseline.fields)} fields"
    if change.effective_from_s == ALWAYS_S:
        return f"+ {what}: {rows}; the version's first, applies to all event times"
    when = utc_second(change.effective_from_s)
    return f"~ {what}: {rows}; replaces {change.replaces} from event time {when}"


def _promotion_line(promotion: Promotion) -> str:
    if promotion.override_reason:
        return f"! {promotion.text} without evidence, by {promotion.override_by}: {promotion.override_reason}"
    grounds = [f"the evidence {promotion.evidence}"] if promotion.evidence else []
    if promotion.eval_runs:
        grounds.append(f"the accepted runs {', '.join(promotion.eval_runs)}")
    if grounds:
        return f"~ {promotion.text}, by {' and '.join(grounds)}"
    needs = ["--evidence BUNDLE"] if promotion.needs_evidence else []
    if promotion.old.suites:
        needs.append(f"an accepted run in {', '.join(promotion.old.suites)}")
    return f"! {promotion.text}: `barograph apply` needs {' and '.join(needs)}, or --override REASON --by NAME"


def _contract_lines(change: ContractChange) -> Iterator[str]:
    contract = change.contract
    if change.difference is None:
        fields = plural(len(contract.fields), "field")
        slices = plural(len(contract.slices), "slice dimension")
        yield f"+ contract of {contract.model}: {fields}, {slices}"
        return
    yield f"~ contract of {contract.model}"
    yield from (f"    {line}" for line in change.difference)
