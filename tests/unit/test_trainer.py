"""The training loop: learns, resumes to the bit, stops on what is not finite; two groups, two processes."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest

from stable_audio_mlx.errors import ConfigError, OptionError, SanityError, WeightsError
from stable_audio_mlx.training.config import ema_keep, group_from_config, training_group, training_section
from stable_audio_mlx.training.loop import Group, Loop, Trainer

TARGET = np.array([[1.0], [-2.0], [0.5]], np.float32)


class Line:
    """A line through noise that depends on MLX's generator too; the second group learns the size of the weights."""

    def __init__(self, size=8, rank=0, world=1):
        mx.random.seed(0)
        # A part without parameters must not get lost on the way through a file.
        self.model = nn.Sequential(nn.Identity(), nn.Linear(3, 1))
        self.discriminator = nn.Linear(1, 1)
        self.size, self.share = size, slice(rank * size // world, (rank + 1) * size // world)

    def batch(self, step):
        x = np.random.default_rng(step).standard_normal((self.size, 3)).astype(np.float32)
        return mx.array(x[self.share]), mx.array((x @ TARGET)[self.share]), mx.array(1.0)

    def loss(self, model, x, y, weight):
        noise = 1e-3 * mx.random.normal((1,))
        value = weight * (model(x) - y + noise).square().mean()
        return value, {"double": 2 * value}

    def discriminator_loss(self, discriminator, x, y, weight):
        value = (discriminator(mx.abs(y)) - mx.abs(self.model(x))).square().mean()
        return value, {}

    def discriminates(self, step):
        return step % 2 == 1


def adam(rate=0.05, clip=0.0):
    return Group(optim.Adam(rate, bias_correction=True), lambda update: rate / (1 + 0.01 * update), clip)


def trainer(folder, steps, objective=None, two=False, signature=None, clip=0.0, **loop):
    settings = Loop(steps, **{"save_every": 10, "average": ema_keep, "fuse": False, **loop})
    second = adam(0.02) if two else None
    return Trainer(objective or Line(), adam(clip=clip), settings, folder / "c.safetensors", second, signature)


def weights(run):
    mine = [run.model.layers[1].weight, run.shipped["layers"][1]["weight"], run.objective.discriminator.weight]
    return np.concatenate([np.array(v).ravel() for v in mine])


def test_training_learns_and_reports(tmp_path):
    run, seen = trainer(tmp_path, 100, log_every=20), []
    run.run(seen.append, [(40, lambda step: seen.append(step))])
    np.testing.assert_allclose(np.array(run.model.layers[1].weight), TARGET.T, atol=0.05)
    reports = [r for r in seen if not isinstance(r, int)]
    assert [r.step for r in reports] == [20, 40, 60, 80, 100] and [s for s in seen if isinstance(s, int)] == [40, 80]
    first, last = reports[0].values, reports[-1].values
    assert last["loss"] < 0.1 * first["loss"] and last["double"] == pytest.approx(2 * last["loss"], rel=1e-5)
    assert set(first) == {"loss", "double", "gradient", "lr"} and reports[-1].left == 0


@pytest.mark.parametrize(("two", "fuse"), [(False, None), (True, False)])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path, two, fuse):
    whole = trainer(tmp_path / "a", 30, two=two, fuse=fuse)
    whole.run()

    class Interrupted(Line):
        def batch(self, step):
            if step == 17:
                raise KeyboardInterrupt
            return super().batch(step)

    first = trainer(tmp_path / "b", 30, Interrupted(), two=two, fuse=fuse)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = trainer(tmp_path / "b", 30, two=two, fuse=fuse)
    assert second.resume() and second.step == 17
    second.run()
    assert weights(second).tobytes() == weights(whole).tobytes()
    assert not list(tmp_path.rglob("*.part*"))


def test_ctrl_c_ends_the_step_and_saves(tmp_path):
    class Pressed(Line):
        def loss(self, model, *batch):
            if self.now == 12:
                os.kill(os.getpid(), signal.SIGINT)
            return super().loss(model, *batch)

        def batch(self, step):
            self.now = step
            return super().batch(step)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "b", 30, Pressed()).run()
    assert signal.getsignal(signal.SIGINT) is before
    again, whole = trainer(tmp_path / "b", 30), trainer(tmp_path / "a", 30)
    assert again.resume() and again.step == 13
    again.run()
    whole.run()
    assert weights(again).tobytes() == weights(whole).tobytes()


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path, what):
    class Broken(Line):
        def batch(self, step):
            x, y, weight = super().batch(step)
            return x, y, mx.array(math.nan) if step == 12 else weight

        def loss(self, model, x, y, weight):
            value, parts = super().loss(model, x, y, weight)
            if what == "gradient":  # the root of 0 is finite, its derivative is not
                bad = mx.sqrt(mx.where(mx.isnan(weight), 0.0, 1.0) * mx.abs(model.layers[1].weight).sum())
                return super().loss(model, x, y, mx.array(1.0))[0] + 1e-9 * bad, {}
            return value, parts

    run = trainer(tmp_path, 30, Broken())
    with pytest.raises(SanityError, match=f"{what} is not finite at step 12"):
        run.run()
    again = trainer(tmp_path, 30)
    assert again.resume() and again.step == 10 and np.isfinite(weights(again)).all()


class Exact(Line):
    """Without the noise that every part of a batch draws anew."""

    def loss(self, model, x, y, weight):
        return weight * (model(x) - y).square().mean(), {}


def test_parts_of_a_batch_equal_the_whole(tmp_path):
    whole = trainer(tmp_path / "a", 12, Exact(), clip=0.5)
    parts = trainer(tmp_path / "b", 12, Exact(), clip=0.5, accumulate=4)
    whole.run()
    parts.run()
    np.testing.assert_allclose(weights(parts), weights(whole), rtol=1e-5)
    with pytest.raises(OptionError, match="3 equal parts"):
        trainer(tmp_path / "c", 12, accumulate=3).run()


def test_two_groups_take_turns(tmp_path):
    run, seen = trainer(tmp_path, 6, two=True), []
    before = weights(run)
    run.run(lambda report: seen.append(set(report.values)))
    assert not np.array_equal(weights(run), before)
    assert seen[0] == {"loss", "double", "gradient", "lr"}
    assert seen[1] == {"discriminator/loss", "discriminator/gradient", "discriminator/lr"}
    assert [t.updates for t in run._tracks] == [3, 3]


def test_a_run_that_began_differently_is_not_resumed(tmp_path):
    trainer(tmp_path, 10, signature={"batch": 8}).run()
    with pytest.raises(OptionError, match="batch 8, not 16"):
        trainer(tmp_path, 10, signature={"batch": 16}).resume()
    (tmp_path / "c.safetensors").write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match="no training state"):
        trainer(tmp_path, 10).resume()
    assert not trainer(tmp_path / "new", 10).resume()


def test_average_is_that_of_the_reference():
    # ema_pytorch 0.2.3, beta 0.9999, power 3/4, update_after_step 1: copies twice, then 1 - (update - 1)^(-3/4).
    assert [ema_keep(n) for n in (1, 2)] == [0.0, 0.0]
    assert ema_keep(3) == pytest.approx(1 - 2**-0.75) and ema_keep(10**7) == 0.9999


def test_training_section_is_strict():
    base = {"model_type": "diffusion_cond", "training": {"learning_rate": 1e-4}}
    section = training_section(base)
    assert section.use_ema and section.cfg_dropout_prob == 0.1
    assert training_group(section, "diffusion").rate(5) == 1e-4

    def wrong(section, kind="diffusion_cond"):
        with pytest.raises(ConfigError) as error:
            made = training_section({"model_type": kind, "training": section})
            training_group(made, made.GROUPS[0])
        return str(error.value)

    assert "training: unknown key 'cfg_dropout', did you mean 'cfg_dropout_prob'?" in wrong(
        {"learning_rate": 1e-4, "cfg_dropout": 0.2}
    )
    assert "one of learning_rate and optimizer_configs" in wrong({})
    adamw = {"type": "AdamW", "config": {"lr": 1e-4, "beta": [0.9, 0.99]}}
    assert "optimizer_configs.diffusion.optimizer.config: unknown key 'beta', did you mean 'betas'" in wrong(
        {"optimizer_configs": {"diffusion": {"optimizer": adamw}}}
    )
    assert "'Adam_W' is not supported, did you mean 'AdamW'" in wrong(
        {"optimizer_configs": {"diffusion": {"optimizer": {"type": "Adam_W", "config": {"lr": 1}}}}}
    )
    assert "optimizer_configs: 'autoencoder' is missing" in wrong({"optimizer_configs": {}}, "autoencoder")
    assert "'trunc_normal'" in wrong({"learning_rate": 1, "timestep_sampler": "trunc_normal"})
    assert "training.arc" in wrong({"arc": {}, "learning_rate": 1})
    assert "mask_kwargs: unknown key 'segments'" in wrong(
        {"learning_rate": 1, "inpainting": {"mask_kwargs": {"segments": 3}}}
    )


def test_inverse_lr_of_the_released_config():
    config = {
        "optimizer": {"type": "AdamW", "config": {"lr": 5e-5, "betas": [0.9, 0.999], "weight_decay": 1e-3}},
        "scheduler": {"type": "InverseLR", "config": {"inv_gamma": 1000000, "power": 0.5, "warmup": 0.99}},
    }
    group = group_from_config(config, "x")
    assert group.rate(0) == pytest.approx(5e-5 * 0.01) and group.rate(1000) == pytest.approx(5e-5 * 1.001**-0.5, 1e-4)
    assert group.rate(3_000_000) == pytest.approx(2.5e-5)


TWO = """
import sys
import mlx.core as mx
from pathlib import Path
import numpy as np
from tests.unit.test_trainer import Exact, trainer, weights
world = mx.distributed.init()
run = trainer(Path(sys.argv[1]), 12, Exact(rank=world.rank(), world=world.size()))
run.run()
assert world.size() == int(sys.argv[2])
if world.rank() == 0:
    np.savez(sys.argv[1] + "/weights.npz", weights=weights(run))
"""


def test_two_processes_equal_one_with_the_whole_batch(tmp_path):
    found = {}
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        script = folder / "two.py"
        script.write_text(TWO)
        command = [sys.executable, str(script), str(folder), str(count)]
        if count == 2:
            launch = Path(sys.executable).with_name("mlx.launch")
            if not launch.exists():
                pytest.skip("mlx.launch is not installed beside Python")
            command = [str(launch), "-n", "2", "--backend", "ring", *command]
        root = Path(__file__).parents[2]
        env = os.environ | {"PYTHONPATH": f"{root}:{root / 'src'}"}
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)
        assert done.returncode == 0, done.stderr
        found[count] = np.load(folder / "weights.npz")["weights"]
    np.testing.assert_allclose(found[2], found[1], rtol=1e-5)
