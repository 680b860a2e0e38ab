CREATE OR REPLACE VIEW all_changes
(
    changed_at,
    kind COMMENT 'Kind of the change: that of changes, or contract, promotion, baseline, version (its first traffic), arm (its first traffic) or server-restart',
    model, subject, before, after, source, owner, reason, changed_by
)
AS
SELECT changed_at, kind, model, subject, before, after, source, owner, reason, changed_by
FROM changes FINAL
UNION ALL
SELECT
    applied_at AS changed_at,
    'contract' AS kind,
    model,
    '' AS subject,
    id_before AS before,
    contract_id AS after,
    '' AS source,
    '' AS owner,
    if(id_before = '', 'first contract', substringUTF8(arrayStringConcat(arrayConcat(
        arrayMap(line -> concat('- ', trimBoth(line)), arrayFilter(line -> NOT has(lines, line), lines_before)),
        arrayMap(line -> concat('+ ', trimBoth(line)), arrayFilter(line -> NOT has(lines_before, line), lines))
    ), '; '), 1, 500)) AS reason,
    '' AS changed_by
FROM
(
    SELECT
        model,
        applied_at,
        contract_id,
        arrayFilter(line -> NOT startsWith(trimLeft(line), '#') AND trimBoth(line) != '', splitByChar('\n', yaml)) AS lines,
        lagInFrame(lines) OVER previous AS lines_before,
        lagInFrame(contract_id) OVER previous AS id_before
    FROM contracts FINAL
    WINDOW previous AS (PARTITION BY model ORDER BY applied_at, contract_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
UNION ALL
SELECT applied_at, 'promotion', model, '', replaced, serving, '', '', override_reason, override_by
FROM promotions FINAL
UNION ALL
SELECT
    if(toUnixTimestamp(effective_from) = 0, accepted_at, toDateTime64(effective_from, 3, 'UTC')),
    'baseline', model, concat('of version ', version), '', baseline_id, '', '', reason, ''
FROM baselines FINAL
UNION ALL
SELECT toDateTime64(min(pane_start), 3, 'UTC'), 'version', model, '', '', version, '', '', '', ''
FROM volume
WHERE slice = 'all' AND n > 0
GROUP BY model, version
UNION ALL
SELECT toDateTime64(min(window_start), 3, 'UTC'), 'arm', model, '', '', arm, '', '', '', ''
FROM arm_counts
WHERE slice = 'all' AND predictions > 0
GROUP BY model, arm
UNION ALL
SELECT at, 'server-restart', model, instance, '', server, '', '', '', ''
FROM serving_facts FINAL
WHERE name = 'restarts' AND value > 0
COMMENT 'All changes: reported ones and those of prompts, and those that other tables record. Filter by model and a range of changed_at. The first traffic of versions and arms has its event time, the others the time at which they were recorded.';

CREATE OR REPLACE VIEW likely_causes
(
    model, field, signal, version, window, window_end, rank, onset, onset_low, onset_high, changed_at, kind, subject, before,
    after, source, owner, relation, timing, likelihood, text
)
FROM suspected_causes FINAL
WHERE kind != '' OR rank = 1
COMMENT 'Ranked changes before each verdict that became major: the latest computation.';
