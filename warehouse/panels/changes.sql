{# Changes of the selected model, and the changes before its verdicts that became major. #}

{% from "drift.sql" import LAST_VERDICTS %}

{% set _CHANGE %}trimBoth(concat(subject, ' ', before, if(before = '' OR after = '', '', ' → '), after)){% endset %}

{% call table("changes.causes",
    "time:time | field:text | verdict:text | moved (UTC, 95 %):text | change:text | changed (UTC):text | likelihood:text | evidence:text | owner:text") %}
SELECT
    window_end AS time,
    field,
    concat(signal, ' ', window) AS verdict,
    if(toUnixTimestamp(onset) = 0, 'not in the window', concat(
        formatDateTime(onset_low, '%m-%d %H:%i'), ' to ', formatDateTime(onset_high, '%m-%d %H:%i')
    )) AS "moved (UTC, 95 %)",
    if(kind = '', 'no change recorded', concat(kind, ' ', {{ _CHANGE }})) AS change,
    if(kind = '', '', formatDateTime(changed_at, '%m-%d %H:%i')) AS "changed (UTC)",
    likelihood,
    if(kind = '', '', concat(relation, ', ', timing)) AS evidence,
    owner
FROM likely_causes
WHERE {{ MODEL }} AND rank <= 3 AND $__timeFilter(window_end)
ORDER BY time DESC, field, verdict, rank
LIMIT 300
{% endcall %}

{% call table("changes.all", "time:time | model:text | kind:text | change:text | source:text | owner:text | reason:text") %}
SELECT
    changed_at AS time,
    if(model = '', 'any', model) AS model,
    kind,
    {{ _CHANGE }} AS change,
    source,
    if(owner = '', changed_by, owner) AS owner,
    reason
FROM
(
    SELECT changed_at, model, kind, subject, before, after, source, owner, changed_by, reason
    FROM all_changes
    WHERE ({{ MODEL }} OR model = '') AND $__timeFilter(changed_at)
)
ORDER BY time DESC
LIMIT 300
{% endcall %}

{% call table("lineage.nodes",
    "id:text | title:text | subtitle:text | mainstat:text | arc__stable | arc__insufficient | arc__minor | arc__major | detail__kind:text | detail__owner:text") %}
SELECT
    graph.node AS id,
    graph.title AS title,
    graph.detail AS subtitle,
    verdict.level AS mainstat,
    {% for level in LEVELS %}verdict.level = '{{ level }}' AS {{ ARC }}{{ level }}{{ ", " if not loop.last }}{% endfor %},
    graph.kind AS detail__kind,
    graph.owner AS detail__owner
FROM latest_lineage AS graph
LEFT JOIN (SELECT field, toString(last.14) AS level FROM ({{ LAST_VERDICTS }})) AS verdict
    ON verdict.field = if(graph.kind IN ('field', 'output'), graph.title, '')
WHERE {{ is_selected("model", "graph.model") }}
ORDER BY graph.position
LIMIT 1000
{% endcall %}

{% call table("lineage.edges", "id:text | source:text | target:text") %}
/* no range: the contract in effect */
SELECT concat(source, ' → ', target) AS id, source, target
FROM (
    SELECT arrayJoin(upstream) AS source, node AS target, position
    FROM latest_lineage
    WHERE {{ MODEL }}
    ORDER BY position
)
LIMIT 4000
{% endcall %}
