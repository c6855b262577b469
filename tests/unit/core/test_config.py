"""run.yaml: what is read from it, what is kept as unavailable, and what stops the start."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent

import pytest
from pydantic import AliasChoices, Field, SecretStr

from llamastack.apis import SERVED, Api
from llamastack.config import KNOWN_APIS, KNOWN_PROVIDER_TYPES, ConfigError, StackConfig, distributions, load_config
from llamastack.providers import Provider, ProviderConfig, ProviderSpec, specs


class FakeConfig(ProviderConfig):
    url: str = Field(default="http://localhost", validation_alias=AliasChoices("url", "base_url"))
    api_key: SecretStr | None = None
    max_tokens: int = 100


class Fake(Provider):
    config_class = FakeConfig


FAKES = {
    "remote::fake": ProviderSpec(f"{__name__}.Fake"),
    "remote::ollama": ProviderSpec(f"{__name__}.Fake"),
    "inline::heavy": ProviderSpec("a_package_that_is_absent.x.Heavy", requirements="requirements/heavy.txt"),
}


def fakes(api: Api) -> Mapping[str, ProviderSpec]:
    return FAKES if api is Api.inference else {}


Load = Callable[..., StackConfig]

PROVIDERS = """\
providers:
  inference:
  - {provider_id: one, provider_type: remote::fake}
  - {provider_id: two, provider_type: remote::fake}
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Reads a text as the file run.yaml of the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLAMA_STACK_HOME", str(tmp_path / "home"))

    def read(text: str, **env: str) -> StackConfig:
        Path("run.yaml").write_text(dedent(text))
        return load_config("run.yaml", env=env, specs=fakes)

    return read


def errors(load: Load, text: str, **env: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(text, **env)
    return str(raised.value).splitlines()


# Providers


def test_a_provider_keeps_what_was_written_beside_what_it_means(load: Load) -> None:
    config = load(
        """\
        version: 2
        providers:
          inference:
          - provider_id: one
            provider_type: remote::fake
            config:
              base_url: ${env.URL:=http://default}
        """,
        URL="http://x",
    )
    (entry,) = config.providers["inference"]
    assert entry.declared == {"base_url": "${env.URL:=http://default}"}
    assert entry.config == {"base_url": "http://x"}
    assert (entry.provider_id, entry.line, entry.unavailable) == ("one", 4, None)


def test_an_unknown_key_names_file_line_place_and_the_near_one(load: Load) -> None:
    text = """\
        providers:
          inference:
          - {provider_id: one, provider_type: remote::fake}
          - provider_id: two
            provider_type: remote::fake
            config:
              max_tokens: 5
              base_urll: x
        """
    assert errors(load, text) == [
        "run.yaml:8: providers.inference[1].config.base_urll: unknown key; did you mean 'base_url'?"
    ]


def test_all_errors_are_shown_together_in_the_order_of_the_file(load: Load) -> None:
    text = """\
        version: 2
        apis: [inference, safty]
        providers:
          inference:
          - provider_id: one
            provider_type: remote::fak
          - provider_id: two
            provider_type: remote::fake
            config: {max_tokens: many, api_key: "${env.KEY}"}
        registered_resources:
          models:
          - {model_id: m, provider_id: one, kind: llm}
          - {model_id: n, provider_id: tow}
        server: {port: 80}
        sever: {}
        """
    assert [line.split(": ")[:2] for line in errors(load, text)] == [
        ["run.yaml:2", "apis[1]"],
        ["run.yaml:6", "providers.inference[0].provider_type"],
        ["run.yaml:9", "providers.inference[1].config.api_key"],
        ["run.yaml:12", "registered_resources.models[0].kind"],
        ["run.yaml:13", "registered_resources.models[1].provider_id"],
        ["run.yaml:14", "server.port"],
        ["run.yaml:15", "sever"],
    ]


def test_a_bad_value_is_named_without_being_repeated(load: Load) -> None:
    (error,) = errors(
        load,
        """\
        providers:
          inference:
          - provider_id: one
            provider_type: remote::fake
            config: {api_key: [hunter2]}
        """,
    )
    assert error == "run.yaml:5: providers.inference[0].config.api_key: Input should be a valid string"


def test_a_missing_variable_names_itself_and_its_line(load: Load) -> None:
    text = """\
        providers:
          inference:
          - provider_id: one
            provider_type: remote::fake
            config:
              api_key: ${env.THE_KEY}
        """
    (error,) = errors(load, text)
    assert error.startswith(
        "run.yaml:6: providers.inference[0].config.api_key: the environment variable THE_KEY is not"
    )


@pytest.mark.parametrize("written", ["${env.OFF:+one}", "${env.OFF:=__disabled__}", "__disabled__", "''", "null"])
def test_a_provider_without_an_id_is_off_and_its_config_not_looked_at(load: Load, written: str) -> None:
    text = f"""\
        providers:
          inference:
          - provider_id: {written}
            provider_type: remote::fake
            config: {{api_key: "${{env.NOT_SET}}"}}
        """
    assert load(text).providers == {"inference": []}


def test_a_key_of_digits_stays_text_where_text_is_due(load: Load) -> None:
    text = """\
        providers:
          inference:
          - provider_id: one
            provider_type: remote::fake
            config: {api_key: "${env.KEY}", max_tokens: "${env.TOKENS}"}
        """
    (entry,) = load(text, KEY="0012345", TOKENS="7").providers["inference"]
    assert entry.config == {"api_key": "0012345", "max_tokens": 7}


def test_an_unknown_type_names_the_near_one(load: Load) -> None:
    text = "providers: {inference: [{provider_id: one, provider_type: remote::fkae}]}\n"
    (error,) = errors(load, text)
    assert error.endswith("unknown provider type 'remote::fkae' for inference; did you mean 'remote::fake'?")


def test_a_known_type_that_is_not_built_is_kept_with_its_reason(load: Load) -> None:
    config = load("providers: {inference: [{provider_id: g, provider_type: 'remote::groq', config: {url: x}}]}\n")
    assert config.providers["inference"][0].unavailable == "not built yet"
    assert config.providers["inference"][0].config == {"url": "x"}
    assert config.notes == ["providers.inference: unavailable: g (not built yet)"]


def test_a_provider_of_an_api_that_is_not_built_is_kept_with_its_reason(load: Load) -> None:
    config = load("providers: {safety: [{provider_id: s, provider_type: 'inline::llama-guard'}]}\n")
    assert config.providers["safety"][0].unavailable == "not built yet"
    assert config.notes == ["providers.safety: unavailable: s (not built yet)"]


def test_providers_of_apis_that_only_ogx_has_are_noted_and_left_out(load: Load) -> None:
    config = load("providers: {messages: [{provider_id: m, provider_type: 'inline::builtin'}]}\n")
    assert config.providers == {}
    assert config.notes == ["providers.messages: unavailable: m (not built yet)"]


def test_a_type_whose_package_is_missing_is_unavailable_and_says_how_to_get_it(load: Load) -> None:
    config = load("providers: {inference: [{provider_id: h, provider_type: 'inline::heavy', config: {a: 1}}]}\n")
    assert config.providers["inference"][0].unavailable == (
        "the package a_package_that_is_absent is missing: pip install -r requirements/heavy.txt"
    )


def test_a_type_from_a_module_is_taken_as_it_is(load: Load) -> None:
    config = load(
        "providers: {inference: [{provider_id: m, provider_type: 'remote::own', module: own, config: {a: 1}}]}"
    )
    (entry,) = config.providers["inference"]
    assert (entry.module, entry.config, entry.unavailable) == ("own", {"a": 1}, None)


def test_an_id_that_is_listed_twice_is_an_error(load: Load) -> None:
    text = """\
        providers:
          inference:
          - {provider_id: one, provider_type: remote::fake}
          - {provider_id: one, provider_type: remote::fake}
        """
    assert errors(load, text) == [
        "run.yaml:4: providers.inference[1].provider_id: 'one' is listed twice: first in line 3"
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("providers: []", "run.yaml:1: providers: expected a mapping from APIs to lists of providers"),
        ("providers: {inference: {a: 1}}", "run.yaml:1: providers.inference: expected a list of providers"),
        ("providers: {saftey: []}", "run.yaml:1: providers.saftey: unknown API; did you mean 'safety'?"),
        (
            "providers: {models: []}",
            "run.yaml:1: providers.models: models has no providers: it lists what is registered",
        ),
        (
            "providers: {inference: [x]}",
            "run.yaml:1: providers.inference[0]: expected a provider with provider_id and provider_type",
        ),
        (
            "providers: {inference: [{provider_id: x}]}",
            "run.yaml:1: providers.inference[0].provider_type: this key is required",
        ),
    ],
)
def test_a_providers_section_of_the_wrong_form_is_an_error(load: Load, text: str, error: str) -> None:
    assert errors(load, text) == [error]


def test_the_seed_forms_host_and_port_become_ollamas_url(load: Load) -> None:
    text = """\
        providers:
          inference:
          - {provider_id: o, provider_type: remote::ollama, config: {host: localhost, port: "${env.P:=11434}"}}
        """
    (entry,) = load(text).providers["inference"]
    assert entry.config == {"url": "http://localhost:11434"}
    assert entry.declared == {"url": "http://localhost:${env.P:=11434}"}


# Models


def test_a_model_is_registered_under_its_own_name_unless_another_is_given(load: Load) -> None:
    models = """\
registered_resources:
  models:
  - {model_id: a, provider_id: one}
  - {model_id: b, provider_id: two, provider_model_id: org/b, model_type: embedding, metadata: {embedding_dimension: 8}}
"""
    first, second = load(PROVIDERS + models).registered_resources.models
    assert (first.model_id, first.provider_id, first.provider_model_id, first.model_type) == ("a", "one", "a", "llm")
    assert (second.provider_model_id, second.model_type) == ("org/b", "embedding")
    assert (first.declared, first.line) == ({"model_id": "a", "provider_id": "one"}, 7)


@pytest.mark.parametrize(
    "entry",
    [
        "{model_id: a, provider_id: ''}",
        "{model_id: '', provider_id: one}",
        "{model_id: '${env.NONE:=}', provider_id: one}",
        "{model_id: a, provider_id: '${env.NONE:+one}'}",
        "{model_id: a, provider_id: __disabled__}",
    ],
)
def test_a_model_with_an_empty_id_or_provider_is_skipped(load: Load, entry: str) -> None:
    assert load(f"{PROVIDERS}registered_resources: {{models: [{entry}]}}\n").registered_resources.models == []


def test_a_model_of_a_provider_that_is_off_is_skipped_with_a_note(load: Load) -> None:
    config = load("""\
        providers:
          inference:
          - {provider_id: "${env.OFF:+three}", provider_type: remote::fake}
        registered_resources: {models: [{model_id: a, provider_id: three}]}
        """)
    assert config.registered_resources.models == []
    assert config.notes == ["model a is not registered: provider 'three' is not enabled"]


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        (
            "{model_id: a, provider_id: oen}",
            "[0].provider_id: no inference provider of the id 'oen'; did you mean 'one'?",
        ),
        ("{provider_id: one}", "[0].model_id: this key is required"),
        (
            "{model_id: a, provider_id: one, model_type: embeding}",
            "[0].model_type: Input should be 'llm', 'embedding' or 'rerank'; did you mean 'embedding'?",
        ),
        (
            "{model_id: a, provider_id: one, model_type: embedding}",
            "[0]: an embedding model needs metadata.embedding_dimension, a positive whole number",
        ),
        ("a", "[0]: expected a model with model_id and provider_id"),
    ],
)
def test_a_wrong_model_is_an_error_with_its_line(load: Load, entry: str, error: str) -> None:
    (found,) = errors(load, f"{PROVIDERS}registered_resources:\n  models:\n  - {entry}\n")
    assert found == f"run.yaml:7: registered_resources.models{error}"


def test_a_model_that_is_listed_twice_is_an_error(load: Load) -> None:
    text = (
        "registered_resources:\n  models:\n  - {model_id: a, provider_id: one}\n  - {model_id: a, provider_id: two}\n"
    )
    assert errors(load, PROVIDERS + text) == [
        "run.yaml:8: registered_resources.models[1].model_id: 'a' is listed twice: first in line 7"
    ]


@pytest.mark.parametrize(
    ("value", "provider_id", "provider_model_id"),
    [
        ("two/llama-3:8b", "two", "llama-3:8b"),
        ("meta-llama/Llama-3", "one", "meta-llama/Llama-3"),
        ("llama", "one", "llama"),
        ("two/a/b", "two", "a/b"),
        ("two/", "one", "two/"),
    ],
)
@pytest.mark.parametrize("variable", ["INFERENCE_MODEL", "SAFETY_MODEL"])
def test_a_model_from_the_environment_goes_to_the_provider_it_names(
    load: Load, variable: str, value: str, provider_id: str, provider_model_id: str
) -> None:
    (model,) = load(PROVIDERS, **{variable: value}).registered_resources.models
    assert (model.model_id, model.provider_id, model.provider_model_id) == (value, provider_id, provider_model_id)


def test_a_model_from_the_environment_that_is_listed_already_is_not_added_again(load: Load) -> None:
    models = "registered_resources: {models: [{model_id: '${env.INFERENCE_MODEL}', provider_id: two}]}\n"
    (model,) = load(PROVIDERS + models, INFERENCE_MODEL="m", SAFETY_MODEL="m").registered_resources.models
    assert model.provider_id == "two"


def test_a_model_from_the_environment_without_any_provider_is_a_note(load: Load) -> None:
    config = load("version: 2\n", INFERENCE_MODEL="m")
    assert config.notes == ["INFERENCE_MODEL=m is not registered: there is no inference provider"]


# Other sections


def test_an_almost_empty_file_has_the_defaults(load: Load) -> None:
    config = load("version: 2\nserver:\nstorage: {stores: }\napis:\n")
    assert (config.image_name, config.server.port, config.server.host, config.apis) == ("run", 8321, None, [])
    assert config.notes == []


def test_an_image_name_may_be_a_number_and_be_called_distro_name(load: Load) -> None:
    assert load("image_name: 7\n").image_name == "7"
    assert load("distro_name: mine\n").image_name == "mine"


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", ""])
def test_an_image_name_is_no_path(load: Load, name: str) -> None:
    assert errors(load, f"image_name: '{name}'\n")[0].startswith("run.yaml:1: image_name: ")


@pytest.mark.parametrize(("version", "word"), [("1", "older"), ("3", "newer")])
def test_another_version_is_an_error(load: Load, version: str, word: str) -> None:
    (error,) = errors(load, f"\nversion: {version}\n")
    assert error.startswith(f"run.yaml:2: version: version {version} is {word} than what is read here")


def test_the_older_spellings_mean_the_same(load: Load) -> None:
    config = load(
        PROVIDERS
        + "default_models: [{identifier: m, provider_id: two}]\n"
        + "vector_stores_config: {default_provider_id: faiss}\nhost: 127.0.0.1\nport: 9000\n"
    )
    assert config.registered_resources.models[0].model_id == "m"
    assert config.vector_stores is not None
    assert config.vector_stores.default_provider_id == "faiss"
    assert (config.server.host, config.server.port) == ("127.0.0.1", 9000)


def test_an_error_under_an_older_spelling_has_the_right_line(load: Load) -> None:
    (error,) = errors(load, f"{PROVIDERS}default_models:\n- identifier: m\n  provider_id: tow\nport: 9000\n")
    assert error.startswith("run.yaml:7: registered_resources.models[0].provider_id: ")
    assert errors(load, "version: 2\nport: 1\n")[0].startswith("run.yaml:2: server.port: ")


def test_what_is_given_under_two_names_is_an_error(load: Load) -> None:
    assert errors(load, "server: {port: 9000}\nport: 9001\n")[0] == "run.yaml:2: port: given twice: also as server.port"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("auth: {provider_config: {type: custom}}", "auth: authentication from the file is not built yet"),
        ("quota: {anonymous_max_requests: 1}", "quota: quotas are not built yet"),
        ("workers: 0", "workers: Input should be greater than or equal to 1"),
        ("tls_keyfile: key.pem", "tls_keyfile: TLS is not built yet"),
        ("prot: 1", "prot: unknown key; did you mean 'port'?"),
        ("port: 99999", "port: Input should be less than or equal to 65535"),
        ("cors: {allow_origins: ['*'], allow_credentials: true}", "cors: allow_credentials cannot go with"),
        ("cors: {allow_orign: []}", "cors.allow_orign: unknown key; did you mean 'allow_origins'?"),
    ],
)
def test_a_server_setting_that_cannot_be_honoured_is_an_error(load: Load, line: str, said: str) -> None:
    (error,) = errors(load, f"version: 2\nserver:\n  {line}\n")
    assert error.startswith(f"run.yaml:3: server.{said}")


def test_the_fast_lane_is_open_unless_it_is_switched_off(load: Load) -> None:
    assert load("version: 2").server.fast_lane
    assert not load("server: {fast_lane: false}\n").server.fast_lane


def test_server_settings_that_are_null_or_known_are_taken(load: Load) -> None:
    server = load("server: {auth: null, quota: null, workers: 3, tls_keyfile: null, cors: true, port: 9000}\n").server
    assert (server.port, server.workers) == (9000, 3)
    assert server.cors is not None
    assert server.cors.allow_origin_regex == r"https?://localhost:\d+"


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("telemetry: {enabled: true}", "telemetry: has no effect yet: not built"),
        ("metadata_store: {type: sqlite}", "metadata_store: an older form that has no effect"),
        ("external_providers_dir: /x", "external_providers_dir: has no effect yet: not built"),
        ("vector_dbs: [{a: 1}]", "vector_dbs: an old list that nothing reads"),
        (
            "shields: [{shield_id: s, provider_id: p}]",
            "registered_resources.shields: kept, but its API is not built yet",
        ),
        ("apis: [inference, messages]", "apis: not built yet and answered with 404: messages"),
        (
            "image_name: x\nsafety: {default_shield_id: '${env.lower}'}",
            "run.yaml:2: safety.default_shield_id: ${env.lower}",
        ),
    ],
)
def test_what_has_no_effect_is_noted(load: Load, line: str, note: str) -> None:
    assert any(said.startswith(note) for said in load(line + "\n").notes)


def test_resources_of_apis_to_come_are_checked_and_kept(load: Load) -> None:
    config = load("""\
        registered_resources:
          vector_dbs: []
          shields:
          - {shield_id: guard, provider_id: "${env.SAFETY_MODEL:+llama-guard}"}
          - {shield_id: scan, provider_id: code-scanner}
          tool_groups:
          - {toolgroup_id: "builtin::rag", provider_id: rag-runtime}
        """)
    assert [shield.shield_id for shield in config.registered_resources.shields] == ["scan"]
    assert config.registered_resources.tool_groups[0].toolgroup_id == "builtin::rag"
    (error, _) = errors(load, "registered_resources:\n  shields:\n  - {shield: x}\n")
    assert error == "run.yaml:3: registered_resources.shields[0].shield_id: this key is required"


def test_an_empty_list_and_an_unknown_key_are_told_apart_when_both_are_null(load: Load) -> None:
    assert load("registered_resources: {shields: '${env.NONE:=}'}\n").registered_resources.shields == []
    (error,) = errors(load, "registered_resources:\n  shelds: '${env.NONE:=}'\n")
    assert error == "run.yaml:2: registered_resources.shelds: unknown key; did you mean 'shields'?"


# Distributions


@pytest.mark.parametrize("name", ["starter", "remote-only", "postgres-demo"])
def test_a_distribution_that_comes_with_the_server_loads_and_notes_nothing(name: str) -> None:
    assert name in distributions()
    config = load_config(name, env={})
    assert config.image_name == name
    assert [note for note in config.notes if "unavailable" not in note] == []


def test_starter_has_local_models_and_switches_servers_on_by_their_variables() -> None:
    config = load_config("starter", env={"OLLAMA_URL": "http://o", "OPENAI_API_KEY": "k"})
    ids = [entry.provider_id for entry in config.providers["inference"]]
    assert ids == ["meta-reference", "sentence-transformers", "ollama", "openai"]
    assert [model.model_id for model in config.registered_resources.models] == [
        "SmolLM2-135M-Instruct",
        "all-MiniLM-L6-v2",
    ]


def test_a_distribution_in_the_home_folder_is_found_by_its_name(load: Load, tmp_path: Path) -> None:
    for folder, name in (("llamastack-mine", "mine"), ("other", "other")):
        path = tmp_path / "home" / "distributions" / folder / f"{name}-run.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(f"version: 2\nimage_name: {name}\n")
        assert load_config(name, env={}).image_name == name
        assert name in distributions()


def test_a_file_of_the_current_folder_comes_before_a_distribution(load: Load) -> None:
    Path("starter").write_text("version: 2\nimage_name: ours\n")
    assert load_config("starter", env={}).image_name == "ours"


def test_a_name_that_is_nothing_names_near_ones() -> None:
    with pytest.raises(ConfigError, match=r"no file and no distribution 'startr'; did you mean 'starter'\?"):
        load_config("startr")


@pytest.mark.parametrize("source", ["", "/", "a" * 5000, "\0", "~no-such-user/run.yaml", "../x"])
def test_a_name_that_no_file_can_have_is_refused_likewise(source: str) -> None:
    with pytest.raises(ConfigError, match="no file and no distribution"):
        load_config(source)


def test_every_built_provider_type_is_a_known_one() -> None:
    assert set(KNOWN_PROVIDER_TYPES) <= KNOWN_APIS
    for api in SERVED:
        assert set(specs(api)) <= KNOWN_PROVIDER_TYPES.get(api, frozenset())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"aliases": ["two"]}, "'two' is a name of the model 'two'"),
        ({"default": True}, "'one' and 'two' are both the default llm"),
    ],
)
def test_a_name_means_one_model_and_there_is_one_default(tmp_path: Path, fields: dict[str, object], said: str) -> None:
    provider = {"provider_id": "p", "provider_type": "remote::openai"}
    models = [
        {"model_id": "one", "provider_id": "p", **fields},
        {"model_id": "two", "provider_id": "p", "default": True},
    ]
    run = {"version": 2, "providers": {"inference": [provider]}, "registered_resources": {"models": models}}
    file = tmp_path / "run.yaml"
    file.write_text(json.dumps(run))
    with pytest.raises(ConfigError, match=said):
        load_config(file)
