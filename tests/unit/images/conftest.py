import sys
from pathlib import Path

# Modules beside the tests; worker processes inherit the path.
sys.path.insert(0, str(Path(__file__).parent))
