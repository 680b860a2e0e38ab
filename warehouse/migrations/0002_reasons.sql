-- The reasons stand in docs/statistics.md: lists in comments lacked new ones.
ALTER TABLE drift COMMENT COLUMN IF EXISTS reason 'Why the level is insufficient (docs/statistics.md lists the reasons); empty for other levels';
ALTER TABLE rates COMMENT COLUMN IF EXISTS reason 'Why the level is insufficient (docs/statistics.md lists the reasons); empty for other levels';
ALTER TABLE comparisons COMMENT COLUMN IF EXISTS reason 'Why the level is insufficient (docs/statistics.md lists the reasons); empty for other levels';
ALTER TABLE arm_ratios COMMENT COLUMN IF EXISTS reason 'Why the level is insufficient (docs/statistics.md lists the reasons); empty for other levels';
ALTER TABLE performance COMMENT COLUMN IF EXISTS reason 'Why the level is insufficient (docs/statistics.md lists the reasons); empty for other levels';
