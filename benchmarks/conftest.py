"""Makes `benchmarks` importable under pytest's importlib mode, which adds no paths."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
