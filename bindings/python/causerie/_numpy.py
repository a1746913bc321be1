"""numpy, where it is."""

try:
    import numpy as np
except ImportError:  # memoryviews then
    np = None  # type: ignore[assignment]

__all__ = ["np"]
