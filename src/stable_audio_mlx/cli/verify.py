"""``stable-audio-mlx verify NAME``: is the converted model complete, unchanged and plausible?"""

import argparse

from .common import Parser, ProgressBar, note, run, size_text


def parser() -> argparse.ArgumentParser:
    p = Parser(
        "stable-audio-mlx verify",
        description="Check a converted model: hashes, counts, statistics. Exit code 3: wrong.",
    )
    p.add_argument("model", metavar="NAME|DIR", help="name of a converted model, or its folder")
    return p


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    return run(lambda: verify(options.model))


def verify(name: str) -> int:
    from ..errors import WeightsError
    from ..weights.verify import verify_model

    with ProgressBar() as bar:
        report = verify_model(name, bar.update)
    print(f"{report.name}  {report.folder}")
    print(f"{'file':<26}{'sha256':>7}{'tensors':>9}{'parameters':>15}{'mean':>11}{'std':>11}{'size':>12}")
    for row in report.rows:
        weights = (
            f"{row.tensors:>9,}{row.parameters:>15,}{row.mean:>11.5f}{row.deviation:>11.5f}" if row.tensors else ""
        )
        print(f"{row.file:<26}{'ok' if row.same_hash else 'WRONG':>7}{weights:<46}{size_text(row.bytes):>12}")
    for fact in report.notes:
        print(fact)
    for problem in report.problems:
        note(f"wrong: {problem}")
    if report.problems:
        raise WeightsError(f"{report.name}: the model is not as it was converted; convert it again with --overwrite")
    print("ok")
    return 0
