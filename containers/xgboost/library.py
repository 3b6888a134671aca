"""The one place that imports the xgboost library.

The library offers wrappers for scikit-learn and imports all of it where it is installed, which takes longer
than everything else `train` imports. No image has it; where it is there, it is kept out.
"""

from __future__ import annotations

import sys

if "sklearn" in sys.modules:
    import xgboost as xgb
else:
    sys.modules["sklearn"] = None  # type: ignore[assignment]
    try:
        import xgboost as xgb
    finally:
        del sys.modules["sklearn"]

__all__ = ["xgb"]
