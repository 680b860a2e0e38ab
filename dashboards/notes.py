"""The short notes that stand on the pages."""

from __future__ import annotations

LEVELS_NOTE = """
| word | meaning |
|---|---|
| **stable** | nothing that matters moved |
| **minor** | moved; look by day |
| **major** | moved far; look now |
| **insufficient** | too little data to say: not health |
| **no verdict** | nothing was judged |
"""

FIELD_NOTE = """
**PSI** compares the shares of the field's cells with training; its interval says how sure that is. The bars show *what*
moved. A field may move because the world did, because its source broke, or because the mix of slices changed: look at
nulls and unseen values first, then at the slices below.
"""
