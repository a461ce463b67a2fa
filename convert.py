# Door to stable_audio_mlx.cli.convert; works from a fresh clone without installing the package.
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))
try:
    from stable_audio_mlx.cli.convert import main

    sys.exit(main())
except KeyboardInterrupt:  # while Python was still reading files
    sys.exit(130)
