"""``python -m stable_audio_mlx``."""

import sys

try:
    from .cli.main import main

    sys.exit(main())
except KeyboardInterrupt:  # while Python was still reading files
    sys.exit(130)
