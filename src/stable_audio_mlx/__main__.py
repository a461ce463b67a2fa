"""``python -m stable_audio_mlx``."""

import sys

from .cli.main import main

sys.exit(main())
