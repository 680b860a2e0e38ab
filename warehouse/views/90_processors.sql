-- Processors.
--
-- The view pipeline finds the latest report of a processor by its time before it reads any other column.

CREATE OR REPLACE VIEW pipeline
(
    kind, instance,
    at COMMENT 'Time of the latest report',
    silent_s Int64 ALIAS dateDiff('second', at, now64(3, 'UTC')) COMMENT 'Seconds since the latest report; more than 30 means that the process is gone',
    host, pid, started_at, lag, events,
    rate COMMENT 'Events per second at the latest report',
    retries, dead_letters, last_commit_at, details
)
FROM processors FINAL
WHERE (kind, instance, at) IN (SELECT kind, instance, max(at) FROM processors GROUP BY kind, instance)
COMMENT 'Health of each processor: its latest report, kept for 30 days after the processor stops.';
