"""The short notes that stand on the pages."""

from __future__ import annotations

LEVELS_NOTE = """
**major**: look now. **minor**: look by day. **insufficient**: too little data to say, which is not health.
**no verdict**: nothing was judged; see Pipeline.
"""

FIELD_NOTE = """
**PSI** compares the shares of the field's cells with training; its interval says how sure that is. The bars show *what*
moved. A field may move because the world did, because its source broke, or because the mix of slices changed: look at
nulls and unseen values first, then at the slices below.
"""
