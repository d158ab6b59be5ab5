"""Published models: the hub's layout, a card that names licence and data, and nothing that could be executed."""

import json
import pickle
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import yaml

import sottovoce
from sottovoce.commands import push as push_command
from sottovoce.data.corpus import Corpus
from sottovoce.errors import InputError
from sottovoce.inference import publish

LICENCE, DATA = "CC-BY-NC-SA-4.0", ["Synthetic voices (CC0-1.0)"]


@pytest.fixture(scope="module")
def published(finetuned, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "calm-voices"
    push_command.main(finetuned / "fold1", "anna/calm-voices", LICENCE, DATA, ["en"], folder, dry_run=True)
    return folder


@pytest.fixture
def copied(published, tmp_path):
    return shutil.copytree(published, tmp_path / "model")


def test_a_published_model_says_the_same(published, finetuned, corpus):
    data = Corpus.load(corpus)
    path = data.root / data.utterances[0].path
    assert sorted(p.name for p in published.iterdir()) == sorted(publish.NAMES)
    one, other = sottovoce.load(finetuned / "fold1")(path), sottovoce.load(published)(path)
    np.testing.assert_array_equal(one.answer, other.answer)


def test_a_published_model_is_published_again_with_what_was_told_of_it(published, tmp_path):
    push_command.main(published, "bob/calm-voices", folder=tmp_path / "again", dry_run=True)
    assert (tmp_path / "again/config.json").read_text() == (published / "config.json").read_text()


def test_methods_publish_what_the_command_does(published, finetuned, tmp_path):
    model = sottovoce.from_pretrained(finetuned / "fold1")
    model.save_pretrained(tmp_path / "calm-voices", licence=LICENCE, data=DATA, languages=["en"])
    assert (tmp_path / "calm-voices/config.json").read_text() == (published / "config.json").read_text()
    assert sottovoce.from_pretrained(tmp_path / "calm-voices").names == model.names
    with pytest.raises(InputError, match="not published without one"):
        model.save_pretrained(tmp_path / "x", licence="", data=DATA)
    with pytest.raises(InputError, match="user/name"):
        model.push_to_hub("voices", licence=LICENCE, data=DATA)


def test_the_card_names_licence_and_data_and_no_place(published, tmp_path_factory):
    text = (published / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["license"] == LICENCE.lower()
    assert front["pipeline_tag"] == "audio-classification"
    assert front["language"] == ["en"]
    assert DATA[0] in text
    for name in ("README.md", "config.json", "preprocessor_config.json"):
        assert str(tmp_path_factory.getbasetemp()) not in (published / name).read_text()
    config = json.loads((published / "config.json").read_text())
    assert config["id2label"]["0"] == config["task"]["classes"][0]
    assert json.loads((published / "preprocessor_config.json").read_text())["sampling_rate"] == 16000


def test_no_licence_or_no_data_is_no_publication(finetuned, tmp_path):
    with pytest.raises(InputError, match="not published without one"):
        push_command.main(finetuned / "fold1", "anna/voices", "", DATA, None, tmp_path / "x", dry_run=True)
    with pytest.raises(InputError, match="without its training data"):
        publish.Provenance(LICENCE, ())
    for name in ("voices", "anna/b/c", "../voices", "/voices", "anna/"):
        with pytest.raises(InputError, match="user/name"):
            push_command.main(finetuned / "fold1", name, LICENCE, DATA)
    assert list(tmp_path.iterdir()) == []


class Trap:
    """A pickle that would leave a trace."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return (open, (str(self.place / "opened"), "w"))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "extra/weights.pt", "head.pkl"])
def test_a_folder_with_a_pickle_in_it_is_refused(copied, tmp_path, name):
    (copied / name).parent.mkdir(exist_ok=True)
    (copied / name).write_bytes(pickle.dumps(Trap(tmp_path)))
    with pytest.raises(InputError, match="a pickle in it"):
        sottovoce.load(copied)
    assert not (tmp_path / "opened").exists()


def test_a_pickle_called_safetensors_is_not_opened(copied, tmp_path):
    (copied / "model.safetensors").write_bytes(pickle.dumps(Trap(tmp_path)))
    with pytest.raises(InputError, match="corrupt checkpoint"):
        sottovoce.load(copied)
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("classes", [None, 1.5, True])
def test_a_task_that_is_none_is_refused(copied, classes):
    config = json.loads((copied / "config.json").read_text())
    config["task"]["classes"] = classes
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config\.json: damaged"):
        sottovoce.load(copied)


def test_a_label_map_that_does_not_fit_is_refused(copied):
    config = json.loads((copied / "config.json").read_text())
    for change in (
        {"id2label": config["id2label"] | {"0": "bliss"}},
        {"id2label": {"0": "happy"}},
        {"task": config["task"] | {"classes": config["task"]["classes"][:-1]}},
    ):
        (copied / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(InputError, match="does not fit"):
            sottovoce.load(copied)


def test_other_files_are_not_overwritten(finetuned, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match=r"not empty. Found letter.txt"):
        push_command.main(finetuned / "fold1", "anna/voices", LICENCE, DATA, None, tmp_path, dry_run=True)


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as an upload and a download ask for; `files` is what was committed."""

    files: dict[str, bytes] = {}  # noqa: RUF012
    pending: dict[str, bytes] = {}  # noqa: RUF012

    def log_message(self, *args):
        pass

    def answer(self, value, status=200, **headers):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for key, word in headers.items():
            self.send_header(key.replace("_", "-"), word)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self):
        sent, url = self.body(), f"http://{self.headers['Host']}"
        if self.path == "/api/repos/create":
            self.answer({"url": f"{url}/anna/voices"})
        elif self.path == "/api/validate-yaml":
            self.answer({"warnings": [], "errors": []})
        elif "/preupload/" in self.path:
            asked = json.loads(sent)["files"]
            self.answer({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]})
        elif "/commit/" in self.path:
            import base64

            for line in map(json.loads, sent.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer({"commitUrl": f"{url}/anna/voices/commit/{'0' * 40}", "commitOid": "0" * 40, "success": True})
        else:
            self.answer({"error": self.path}, 404)

    def do_GET(self):
        if self.path.startswith("/api/models/anna/voices"):
            self.answer({"id": "anna/voices", "sha": "0" * 40, "siblings": [{"rfilename": n} for n in self.files]})
            return
        name = self.path.split("?")[0].rpartition("/")[2]
        if "/resolve/" in self.path and name in self.files:
            self.answer(self.files[name], ETag=f'"{name}"', X_Repo_Commit="0" * 40)
        else:
            self.answer({"error": "no such file"}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit="0" * 40)

    do_HEAD = do_GET


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub on this machine, for its client in another process."""
    Hub.files = {}
    server = HTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    for name, value in {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "cache"),
        "HF_TOKEN": "hf_test",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    yield
    server.shutdown()
    server.server_close()


def test_push_uploads_and_load_fetches(hub, finetuned, corpus, process, tmp_path):
    data = Corpus.load(corpus)
    path = data.root / data.utterances[0].path
    pushed = process("push", finetuned / "fold1", "anna/voices", "--licence", LICENCE, "--data", DATA[0])
    out, err = pushed.communicate(timeout=120)
    assert pushed.returncode == 0, err
    assert "anna/voices" in out
    assert set(Hub.files) == set(publish.NAMES)
    Hub.files["pytorch_model.bin"] = pickle.dumps(Trap(tmp_path))  # which nobody asks for
    heard = process("predict", path, "--model", "anna/voices", "-o", tmp_path / "out.json")
    out, err = heard.communicate(timeout=120)
    assert heard.returncode == 0, err
    (found,) = json.loads((tmp_path / "out.json").read_text())
    assert found["label"] == sottovoce.load(finetuned / "fold1")(path).label
    assert not (tmp_path / "opened").exists()


def test_push_without_a_login_or_a_network_says_so(finetuned, sottovoce, tmp_path, monkeypatch):
    words = ("push", finetuned / "fold1", "anna/voices", "--licence", LICENCE, "--data", DATA[0])
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # where nobody listens
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert "needs a login. Found no token" in sottovoce(*words).complaint
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    assert "cannot be uploaded" in sottovoce(*words).complaint
