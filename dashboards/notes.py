"""Short Markdown notes shown on the pages."""

from __future__ import annotations

LEVELS_NOTE = """
**insufficient**: too little data for a verdict, not healthy. **no verdict**: see Pipeline.
"""

SHADOW_NOTE = """
Dashboards show no single prediction. People who may read raw rows use query 26 of docs/queries.md, "Disagreements of a
candidate": a bounded sample of one hour, with ids, features and labels. Fields that the contract marks as personal data
are hashed or dropped there, too: that happens before an event leaves the serving process.
"""

FIELD_NOTE = """
**PSI** compares the distribution of the field with training; the interval shows how certain it is. The bars show what
moved. A field can move because the world changed, because its data source broke, or because the mix of slices changed.
Check nulls and unseen values first, then the slices below.
"""
