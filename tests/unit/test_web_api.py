"""The studio's HTTP API, asked for real."""

import base64
import io
import json
import threading

import numpy as np
import pytest
import soundfile

from stable_audio_mlx import audio

from . import loras, studio
from .studio import QUICK


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with studio.running(tmp_path_factory.mktemp("library")) as client:
        yield client


@pytest.fixture(scope="module")
def take(client):
    return client.take(seed=7)


def wav(seconds=0.5, rate=44100):
    samples = 0.3 * np.sin(np.arange(int(seconds * rate)) / 20)
    return audio.wav_bytes(np.stack([samples, samples]).astype(np.float32), rate)


def upload(client, data=None, name="a loop.wav"):
    path = "/v1/uploads?name=" + name.replace(" ", "%20")
    return client.json("POST", path, data or wav(), {"Content-Type": "audio/wav"}, status=201)


def test_health_and_models(client, take):
    assert client.json("GET", "/health")["status"] == "ok"
    (model,) = [m for m in client.json("GET", "/v1/models")["data"] if m["id"] == "tiny"]
    assert model["default"] and model["loaded"] and model["state"] == "ready" and model["license"] == "MIT"
    assert model["longest"] == pytest.approx(studio.WINDOW) and model["sampler"] in model["samplers"]


def test_a_take_is_reproducible_by_its_seed_and_its_settings_are_told(client, take):
    assert take["seed"] == 7 and take["prompt"] == "kick drum" and take["settings"]["steps"] == 2
    assert take["seconds"] == 0.5 and take["channels"] == 2 and take["sample_rate"] == 44100
    again = client.json("POST", "/v1/audio/generations", take["request"])["data"][0]
    other = client.take(seed=8)
    first, second, third = (client.ask("GET", t["url"])[2] for t in (take, again, other))
    assert first == second != third
    assert str(client.studio.takes.folder) not in json.dumps(take)


def test_several_takes_have_their_own_seeds(client):
    data = client.json("POST", "/v1/audio/generations", {**QUICK, "n": 2, "seed": 3})["data"]
    assert [t["seed"] for t in data] == [3, 4]
    data = client.json("POST", "/v1/audio/generations", {**QUICK, "seed": [9, 5]})["data"]
    assert [t["seed"] for t in data] == [9, 5]


def test_the_sound_itself_in_the_answer(client):
    item = client.json("POST", "/v1/audio/generations", {**QUICK, "response_format": "b64_json"})["data"][0]
    assert base64.b64decode(item["b64_json"]) == client.ask("GET", item["url"])[2]


def test_progress_is_streamed(client):
    status, headers, body = client.ask("POST", "/v1/audio/generations", {**QUICK, "stream": True})
    assert status == 200 and headers["Content-Type"] == "text/event-stream"
    events = [block.split("\n") for block in body.decode().strip().split("\n\n") if block.startswith("event")]
    kinds = [lines[0].removeprefix("event: ") for lines in events]
    assert kinds[0] == "progress" and kinds[-1] == "result" and body.endswith(b"data: [DONE]\n\n")
    result = json.loads(events[-1][1].removeprefix("data: "))
    assert client.json("GET", f"/v1/takes/{result['data'][0]['id']}")["prompt"] == "kick drum"


@pytest.mark.parametrize("form, start", [("wav", b"RIFF"), ("flac", b"fLaC"), ("opus", b"OggS"), (None, None)])
def test_speech_answers_with_bytes(client, form, start):
    body = {
        "model": "tts-1",
        "input": "kick drum",
        "voice": "alloy",
        "speed": 1.0,
        "seconds": 0.5,
        "seed": 5,
        "steps": 2,
    }
    body |= {"response_format": form} if form else {}
    status, headers, data = client.ask("POST", "/v1/audio/speech", body)
    assert status == 200 and headers["X-Seed"] == "5"
    assert json.loads(headers["X-Generation-Json"])["prompt"] == "kick drum"
    assert client.json("GET", f"/v1/takes/{headers['X-Take']}")["seed"] == 5
    assert headers["Content-Type"] == (
        "audio/mpeg" if form is None else {"opus": "audio/ogg"}.get(form, f"audio/{form}")
    )
    assert start is None or data.startswith(start)
    sound, rate = soundfile.read(io.BytesIO(data))
    assert len(sound) / rate == pytest.approx(0.5, abs=0.06) and np.abs(sound).max() > 0.01


def test_a_job_goes_its_way(client):
    job = client.json("POST", "/v1/jobs", {**QUICK, "n": 2}, status=202)
    assert job["state"] == "queued" and job["progress"]["takes"] == 2
    events = client.ask("GET", f"/v1/jobs/{job['id']}/events")[2].decode()
    states = [json.loads(line[6:])["state"] for line in events.splitlines() if line.startswith("data: ")]
    assert states[-1] == "done" and "running" in states
    shown = client.json("GET", f"/v1/jobs/{job['id']}")
    assert [t["id"] for t in shown["takes"]] == [t["id"] for t in client.json("GET", "/v1/takes?limit=2")["data"]][::-1]
    assert job["id"] in [j["id"] for j in client.json("GET", "/v1/jobs")["data"]]


def test_queued_and_running_jobs_are_cancelled_and_the_rest_goes_on(client):
    long = client.json("POST", "/v1/jobs", {**QUICK, "steps": 5000}, status=202)
    middle = client.json("POST", "/v1/jobs", QUICK, status=202)
    last = client.json("POST", "/v1/jobs", QUICK, status=202)
    assert client.json("GET", f"/v1/jobs/{last['id']}")["position"] >= 2
    assert client.json("DELETE", f"/v1/jobs/{middle['id']}")["state"] == "cancelled"
    job = client.studio.queue.get(long["id"])
    next(n for n in client.studio.queue.follow(job) if n and n["progress"]["step"] > 2)
    client.json("DELETE", f"/v1/jobs/{long['id']}")
    assert client.finished(long)["state"] == "cancelled" and not job.takes
    assert client.finished(last)["state"] == "done"


def test_who_leaves_cancels_what_only_they_wait_for(client):
    connection = client.connect()
    body = json.dumps({**QUICK, "steps": 5000})
    connection.request("POST", "/v1/audio/generations", body, {"Content-Type": "application/json"})
    while (
        not (jobs := [j for j in client.studio.queue.list() if j["progress"]["step"]][-1:])
        or jobs[0]["state"] != "running"
    ):
        client.studio.queue.wait(client.studio.queue.version, 5)
    connection.close()
    assert client.finished(jobs[0])["state"] == "cancelled"


def test_who_leaves_a_stream_of_events_disturbs_nobody(client):
    job = client.json("POST", "/v1/jobs", QUICK, status=202)
    for path in (f"/v1/jobs/{job['id']}/events", "/v1/events"):
        connection = client.connect()
        connection.request("GET", path)
        assert connection.getresponse().readline().startswith(b"event: ")
        connection.close()
    assert client.finished(job)["state"] == "done"


def test_everything_that_a_page_follows_comes_in_one_stream(client, take):
    connection = client.connect()
    connection.request("GET", "/v1/events")
    reply = connection.getresponse()
    assert reply.readline() == b"event: state\n"
    state = json.loads(reply.readline()[6:])
    assert {m["id"] for m in state["models"]} >= {"tiny"} and state["takes"] >= 1
    reply.readline()
    threading.Thread(target=client.json, args=("POST", "/v1/jobs", QUICK), kwargs={"status": 202}).start()
    assert reply.readline() == b"event: state\n"
    assert json.loads(reply.readline()[6:])["jobs"][-1]["state"] in ("queued", "running")
    connection.close()


def test_ranges_of_a_sound(client, take):
    whole = client.ask("GET", take["url"])[2]
    size = len(whole)
    for wanted, part in (("0-99", whole[:100]), ("100-", whole[100:]), ("-50", whole[-50:]), (f"0-{size * 2}", whole)):
        status, headers, data = client.ask("GET", take["url"], headers={"Range": f"bytes={wanted}"})
        assert status == 206 and data == part and headers["Content-Range"].endswith(f"/{size}")
    for unread in ("bytes=5-2", "bytes=0-1,5-6", "lines=1-2", "bytes=x-y", "bytes=-"):
        assert client.ask("GET", take["url"], headers={"Range": unread})[::2] == (200, whole)
    status, headers, _ = client.ask("GET", take["url"], headers={"Range": f"bytes={size}-"})
    assert status == 416 and headers["Content-Range"] == f"bytes */{size}"
    assert client.ask("GET", take["url"], headers={"Range": "bytes=-0"})[0] == 416
    status, headers, data = client.ask("HEAD", take["url"])
    assert (status, data, headers["Content-Length"]) == (200, b"", str(size))


def test_formats_to_download(client, take):
    status, headers, data = client.ask("GET", take["url"] + "?format=flac&download")
    assert status == 200 and data[:4] == b"fLaC" and "attachment" in headers["Content-Disposition"]
    assert headers["Content-Disposition"].endswith(".flac")
    assert "attachment" in client.ask("GET", take["url"] + "?download")[1]["Content-Disposition"]
    assert client.refused("GET", take["url"] + "?format=exe")[0] == 400


def test_the_outline_is_that_of_the_sound(client, take):
    peaks = np.array(client.json("GET", take["peaks_url"])["peaks"]).reshape(-1, 2) / 1000
    sound, _ = soundfile.read(io.BytesIO(client.ask("GET", take["url"])[2]))
    assert peaks[:, 1].max() == pytest.approx(min(sound.max(), 1), abs=2e-3)
    assert peaks[:, 0].min() == pytest.approx(max(sound.min(), -1), abs=2e-3)
    assert peaks[0, 1] >= sound[: len(sound) // 800].max() - 1e-3


def test_pages_of_takes(client):
    made = [client.take()["id"] for _ in range(3)][::-1]
    first = client.json("GET", "/v1/takes?limit=2")
    assert [t["id"] for t in first["data"]] == made[:2] and first["has_more"]
    assert client.json("GET", f"/v1/takes?limit=1&before={made[1]}")["data"][0]["id"] == made[2]
    assert client.refused("GET", "/v1/takes?before=take-0")[0] == 404
    for limit in ("0", "-1", "x", "9999", "1e3", "²"):
        assert client.refused("GET", "/v1/takes?limit=" + limit.replace("²", "%C2%B2"))[0] == 400


def test_a_deleted_take_is_gone(client):
    take = client.take()
    path = client.studio.takes.get(take["id"]).sound
    assert client.ask("DELETE", f"/v1/takes/{take['id']}")[0] == 204
    assert not path.exists() and not path.with_suffix(".json").exists()
    assert client.refused("GET", take["url"])[0] == client.refused("DELETE", f"/v1/takes/{take['id']}")[0] == 404


def test_an_upload_is_varied_and_inpainted(client):
    sound = upload(client)
    assert sound["name"] == "a loop.wav" and sound["seconds"] == 0.5 and max(sound["peaks"]) == 300
    varied = client.take(init_audio=sound["id"], init_noise_level=0.5, seed=1)
    assert varied["request"]["init_audio"] == sound["id"]
    made = client.take(inpaint_audio=sound["id"], inpaint=[[0.2, 0.4]], seconds=0.5, seed=1)
    got, _ = soundfile.read(io.BytesIO(client.ask("GET", made["url"])[2]), dtype="float32", always_2d=True)
    given, _ = soundfile.read(io.BytesIO(wav()), dtype="float32", always_2d=True)
    assert np.array_equal(got[:8000], given[:8000]) and not np.allclose(got[10000:16000], given[10000:16000], atol=1e-3)


def test_a_take_is_the_start_of_another(client, take):
    made = client.take(inpaint_audio=take["id"], inpaint=[[0.5, 1.0]], seconds=1.0)
    before, _ = soundfile.read(io.BytesIO(client.ask("GET", take["url"])[2]), dtype="float32")
    after, _ = soundfile.read(io.BytesIO(client.ask("GET", made["url"])[2]), dtype="float32")
    assert len(after) == 44100 and np.array_equal(after[: len(before)], before)


@pytest.mark.parametrize("data", [b"not a sound", b"RIFF" + bytes(200), wav()[:60]])
def test_what_is_no_sound_is_no_upload(client, data):
    status, message = client.refused("POST", "/v1/uploads?name=x.wav", data, {"Content-Type": "audio/wav"})
    assert status == 400 and message.startswith("x.wav: ") and str(client.studio.takes.folder) not in message
    assert not list(client.studio.uploads.folder.glob("*.part"))


def test_takes_survive_a_restart_and_damage_does_not_spread(tmp_path):
    with studio.running(tmp_path) as client:
        first, second = client.take(seed=1), client.take(seed=2)
        sound = upload(client)
    (tmp_path / "broken-take-000000000000.json").write_text("{")
    (tmp_path / "alone-take-111111111111.json").write_text('{"created": 1.0}')
    (tmp_path / "odd-take-222222222222.json").write_text("[1]")
    with studio.running(tmp_path) as client:
        assert [t["id"] for t in client.json("GET", "/v1/takes")["data"]] == [second["id"], first["id"]]
        assert client.json("GET", f"/v1/takes/{first['id']}") == first
        assert client.json("GET", f"/v1/uploads/{sound['id']}")["name"] == "a loop.wav"


def test_loras_are_offered_by_name_and_act(tmp_path):
    (tmp_path / "loras").mkdir()
    loras.write(tmp_path / "loras" / "drums.safetensors", config=studio.CONFIG, part="self_attn")
    loras.write(tmp_path / "loras" / "other.safetensors")
    with studio.running(tmp_path / "library", loras=tmp_path / "loras") as client:
        client.studio.queue.do(lambda: None).result(60)  # the models have been looked at
        told = client.json("GET", "/v1/models")["data"][0]["loras"]
        assert told["drums"] == "" and told["other"] and str(tmp_path) not in told["other"]
        assert client.json("GET", "/v1/loras")["data"] == [{"name": "drums"}, {"name": "other"}]
        plain, off, on = (client.take(seed=1, lora=lora) for lora in (None, [["drums", 0]], ["drums"]))
        bodies = [client.ask("GET", take["url"])[2] for take in (plain, off, on)]
        samples = [soundfile.read(io.BytesIO(body))[0] for body in bodies]
        assert np.array_equal(samples[0], samples[1]) and not np.allclose(samples[0], samples[2], atol=1e-3)
        assert on["request"]["lora"] == [["drums", 1.0]] and str(tmp_path) not in json.dumps(on)
        again = client.json("POST", "/v1/audio/generations", on["request"])["data"][0]
        assert client.ask("GET", again["url"])[2] == bodies[2]
        assert "is not for tiny" in client.refused("POST", "/v1/jobs", {**QUICK, "lora": ["other"]})[1]


def test_words_in_any_script(client):
    take = client.take(prompt="鼓 колокол, ©")
    assert client.json("GET", f"/v1/takes/{take['id']}")["prompt"] == "鼓 колокол, ©" and "колокол" in take["file"]
    for query in ("?download", "?format=flac"):
        status, headers, _ = client.ask("GET", take["url"] + query)
        assert status == 200 and "%D0%BA" in headers["Content-Disposition"]
    body = {"input": "鼓 колокол", "seconds": 0.5, "steps": 1, "response_format": "wav"}
    assert json.loads(client.ask("POST", "/v1/audio/speech", body)[1]["X-Generation-Json"])["prompt"] == "鼓 колокол"
    half = b'{"prompt": "\\ud800"}'
    assert client.refused("POST", "/v1/jobs", half, {"Content-Type": "application/json"})[0] == 400


def test_what_a_run_remarks_is_kept_with_the_take(client):
    take = client.take(negative_prompt="noise", cfg_scale=1, normalize="lufs:-14")
    assert any("negative_prompt has no effect" in note for note in take["notes"])
    assert take["settings"]["normalize"] == "lufs:-14" and len(take["notes"]) == len(set(take["notes"]))
