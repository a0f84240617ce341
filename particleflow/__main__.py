"""python -m particleflow."""

import sys

from particleflow.cli import main

sys.exit(main())
