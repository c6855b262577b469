"""The variables, and what lies in the folder: in which order replies are kept and replayed."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from llamastack.recording import Mode, RecordingFault, Tape
from llamastack.recording.asked import Asked
from llamastack.recording.nearest import RecordingMissing
from llamastack.recording.secrets import Secrets

BEGINNING = '{"schema": 1, "area": "a", "upstream": "u", "request": {"method": "GET", "path": "/"}, '


def asked(text: str = "hello", **more: Any) -> Asked:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
    return Asked.of("openai", "POST", "http://x/v1/chat/completions", json.dumps(body).encode(), Secrets([]))


def reply(said: Any, status: int = 200) -> dict[str, Any]:
    return {"status": status, "headers": {}, "body": {"json": said}}


def replayed(folder: Path, request: Asked, times: int) -> list[Any]:
    tape = Tape(Mode.replay, folder)
    return [tape.take(request, [folder])["body"]["json"] for _ in range(times)]


def recorded(folder: Path, request: Asked, *replies: dict[str, Any]) -> Path:
    tape = Tape(Mode.record, folder)
    for one in replies:
        tape.keep(request, "inference", folder, one)
    return folder / request.file_name


@pytest.mark.parametrize("mode", ["", "live"])
def test_upstreams_are_asked_unless_a_mode_says_otherwise(mode: str) -> None:
    assert Tape.of({}) is None
    assert Tape.of({"LLAMA_STACK_TEST_INFERENCE_MODE": mode, "LLAMA_STACK_TEST_RECORDING_DIR": "/nowhere"}) is None


@pytest.mark.parametrize("mode", ["record", "record-if-missing"])
def test_the_folder_of_new_recordings_is_made(mode: str, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    tape = Tape.of({"LLAMA_STACK_TEST_INFERENCE_MODE": mode, "LLAMA_STACK_TEST_RECORDING_DIR": str(folder)})
    assert tape is not None
    assert (tape.mode, tape.folder) == (mode, folder)
    assert folder.is_dir()
    assert str(folder) in str(tape)


@pytest.mark.parametrize(
    ("mode", "folder", "told"),
    [
        ("reply", "/tmp", "is 'reply', and can be live, record, replay, record-if-missing"),
        ("replay", "", "needs LLAMA_STACK_TEST_RECORDING_DIR"),
        ("replay", "/no/such/folder", "is no folder. Record into it first"),
        ("record", "/proc/none", "cannot be made"),
    ],
)
def test_a_wrong_mode_or_folder_is_told_in_a_sentence(mode: str, folder: str, told: str) -> None:
    with pytest.raises(RecordingFault, match=told):
        Tape.of({"LLAMA_STACK_TEST_INFERENCE_MODE": mode, "LLAMA_STACK_TEST_RECORDING_DIR": folder})


def test_a_request_that_is_sent_again_gets_the_next_reply_and_then_the_last_one(tmp_path: Path) -> None:
    recorded(tmp_path, asked(), reply("running"), reply("running"), reply("done"))
    assert replayed(tmp_path, asked(), 4) == ["running", "done", "done", "done"]


def test_of_tries_only_what_came_of_them_is_kept(tmp_path: Path) -> None:
    file = recorded(tmp_path, asked(), reply("busy", 503), reply("slower", 429), reply("yes"), reply("no", 400))
    assert [one["status"] for one in json.loads(file.read_text())["replies"]] == [200, 400]
    recorded(tmp_path, asked("again"), reply("busy", 503), reply("busy", 503))
    assert replayed(tmp_path, asked("again"), 1) == ["busy"]


def test_recording_begins_a_file_anew(tmp_path: Path) -> None:
    recorded(tmp_path, asked(), reply(1), reply(2))
    recorded(tmp_path, asked(), reply(3))
    assert replayed(tmp_path, asked(), 2) == [3, 3]


def test_where_missing_what_is_there_is_replayed_and_what_was_begun_goes_on(tmp_path: Path) -> None:
    recorded(tmp_path, asked(), reply(1))
    tape = Tape(Mode.record_if_missing, tmp_path)
    assert tape.replays(asked(), [tmp_path])
    assert not tape.replays(asked("other"), [tmp_path])
    tape.keep(asked("other"), "inference", tmp_path, reply("running"))
    assert not tape.replays(asked("other"), [tmp_path])


def test_a_test_of_its_own_recordings_falls_back_on_those_of_all(tmp_path: Path) -> None:
    recorded(tmp_path, asked(), reply("of all"))
    recorded(tmp_path / "mine", asked(), reply("mine"))
    tape = Tape(Mode.replay, tmp_path)
    assert tape.take(asked(), [tmp_path / "mine", tmp_path])["body"]["json"] == "mine"
    assert tape.take(asked(), [tmp_path / "other", tmp_path])["body"]["json"] == "of all"


def test_a_file_is_plain_json_with_an_event_a_line(tmp_path: Path) -> None:
    events = [{"data": {"choices": [{"delta": {"content": "word " * 40}}]}} for _ in range(3)] + [{"text": "[DONE]"}]
    file = recorded(tmp_path, asked(), {"status": 200, "headers": {}, "events": events})
    found = json.loads(file.read_text())
    assert list(found) == ["schema", "area", "upstream", "request", "replies"]
    assert (found["schema"], found["area"], found["upstream"]) == (1, "inference", "openai")
    assert sum(line.strip().startswith('{"data"') for line in file.read_text().splitlines()) == 3
    assert [other.name for other in tmp_path.iterdir()] == [file.name]


def test_whoever_records_the_same_at_once_writes_whole_files(tmp_path: Path) -> None:
    def record(number: int) -> None:
        recorded(tmp_path, asked(), *(reply(f"{number} {n}" * 500) for n in range(10)))

    threads = [threading.Thread(target=record, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [file.name for file in tmp_path.iterdir()] == [asked().file_name]
    assert len(json.loads((tmp_path / asked().file_name).read_text())["replies"]) == 10


def test_one_tape_takes_replies_from_many_threads(tmp_path: Path) -> None:
    tape = Tape(Mode.record, tmp_path)
    threads = [
        threading.Thread(target=tape.keep, args=[asked(), "inference", tmp_path, reply(number)]) for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(replayed(tmp_path, asked(), 16)) == list(range(16))


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordingFault, match="cannot be written: "):
        Tape(Mode.record, tmp_path).keep(asked(), "inference", tmp_path / "file", reply(1))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not a recording"),
        ("[]", "is not a recording"),
        ('{"schema": 2, "area": "a", "upstream": "u", "request": {}, "replies": []}', "'schema'"),
        (
            '{"schema": 1, "area": "a", "upstream": "u", "request": {"method": "GET", "path": "/"}, "replies": []}',
            "replies",
        ),
        (
            BEGINNING + '"replies": [{"status": 200, "body": {"pickle": "x"}}]}',
            "json, text and base64",
        ),
        (
            BEGINNING + '"replies": [{"status": 200, "events": [{"event": "x"}]}]}',
            "data or text",
        ),
    ],
)
def test_a_file_that_is_no_recording_is_told(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / asked().file_name).write_text(text)
    with pytest.raises(RecordingFault, match=told):
        Tape(Mode.replay, tmp_path).take(asked(), [tmp_path])


def test_a_miss_says_what_was_asked_and_that_nothing_like_it_is_there(tmp_path: Path) -> None:
    recorded(tmp_path, Asked.of("openai", "GET", "http://x/v1/models", None, Secrets([])), reply([]))
    with pytest.raises(RecordingMissing) as missed:
        Tape(Mode.replay, tmp_path).take(asked(), [tmp_path])
    assert missed.value.message == (
        f"No recording of POST /v1/chat/completions of 'openai', model 'm' in {tmp_path}. There is none of POST "
        "/v1/chat/completions at all. Record it once with LLAMA_STACK_TEST_INFERENCE_MODE=record-if-missing."
    )
    assert (missed.value.status, missed.value.code) == (424, "recording_missing")


def test_a_miss_names_the_nearest_recording_and_how_it_differs(tmp_path: Path) -> None:
    near = recorded(tmp_path, asked("What is the capital of France?", temperature=0), reply(1))
    recorded(tmp_path, asked("Something else", temperature=1, n=2, stop="x"), reply(2))
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(RecordingMissing) as missed:
        Tape(Mode.replay, tmp_path).take(asked("What is the capital of Spain?", temperature=0, seed=7), [tmp_path])
    assert f"The nearest of 2, {near.name}, differs in" in missed.value.message
    assert "messages[0].content: recorded 'What is the capital of France?', asked 'What is" in missed.value.message
    assert "seed: recorded nothing, asked 7" in missed.value.message


def test_the_differences_of_a_miss_are_few_and_short(tmp_path: Path) -> None:
    recorded(tmp_path, asked("x." * 50_000 + "a", **{f"field_{n}": 1 for n in range(50)}), reply(1))
    with pytest.raises(RecordingMissing) as missed:
        Tape(Mode.replay, tmp_path).take(asked("x." * 50_000 + "b"), [tmp_path])
    assert "x.x.a', asked …" in missed.value.message
    assert "and 46 more" in missed.value.message
    assert len(missed.value.message) < 1200


def test_another_provider_s_recording_is_a_difference(tmp_path: Path) -> None:
    recorded(tmp_path, asked(), reply(1))
    other = Asked.of(
        "vllm", "POST", "http://x/v1/chat/completions", json.dumps(asked().body["json"]).encode(), Secrets([])
    )  # type: ignore[index]
    with pytest.raises(RecordingMissing, match="provider: recorded 'openai', asked 'vllm'"):
        Tape(Mode.replay, tmp_path).take(other, [tmp_path])
