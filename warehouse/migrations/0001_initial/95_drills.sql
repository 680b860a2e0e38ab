-- Results of drills: what `barograph drill` wrote.

CREATE TABLE IF NOT EXISTS drills
(
    drill_id String COMMENT 'Identifier of the drill, unique',
    at DateTime64(3, 'UTC') COMMENT 'Time at which the drill ended',
    model LowCardinality(String) COMMENT 'Model whose events were used; the drill ran under the name drill.MODEL.ID',
    version LowCardinality(String) COMMENT 'Version of the model',
    fault LowCardinality(String) COMMENT 'Fault that was injected, such as mean-shift',
    field LowCardinality(String) COMMENT 'Field that it affected; empty for a fault of whole events',
    magnitude Float64 COMMENT 'Size of the fault, in the unit of its kind; NaN if it has none, or an unplanned drill sets none',
    rate Float64 COMMENT 'Share of the rows in the period that it affected; NaN if an unplanned drill sets none',
    mode LowCardinality(String) COMMENT 'fast: on the replay clock, in topics and a database of its own; live: on the wall clock, in the processors of production',
    fault_start DateTime64(3, 'UTC') COMMENT 'First event time of the fault; the time of the drill if it could not be planned',
    fault_end DateTime64(3, 'UTC') COMMENT 'End of the fault, exclusive',
    passed Bool COMMENT 'Whether every expectation was met and no other page fired',
    expected Array(String) COMMENT 'What had to happen, one entry per expectation',
    observed Array(String) COMMENT 'What happened, in the order of expected',
    met Array(Bool) COMMENT 'Whether each expectation was met, in the order of expected',
    page_after_s Float64 COMMENT 'Time from the start of the fault to the first expected notification, in seconds; NaN if none arrived',
    predicted_low_s Float64 COMMENT 'Predicted 10 % quantile of that time, in seconds; NaN without a prediction',
    predicted_high_s Float64 COMMENT 'Predicted 90 % quantile of that time, in seconds; NaN without a prediction',
    degraded_after_s Float64 COMMENT 'Time from the start of the fault to the state degraded of the guard, in seconds; NaN if it stayed healthy',
    recovered_after_s Float64 COMMENT 'Time from the end of the fault to the state healthy of the guard, in seconds; NaN if it did not recover'
)
ENGINE = ReplacingMergeTree
ORDER BY (model, fault, at, drill_id)
COMMENT 'Results of drills, one row per drill; kept forever.';
