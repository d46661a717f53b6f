from __future__ import annotations

from pathlib import Path

import pytest

from agency.config.catalogue import settings
from agency.config.load import Loaded, load
from agency.config.schema import Settings
from agency.errors import ConfigurationInvalid

GUIDE = """\
[llm]
model = "llama3.2:latest"
base_url = "http://localhost:11434"

[memory]
database_url = "sqlite:memory.db"
embedding_model = "nomic-embed-text"

[mcp]
server_url = "http://localhost:8080"
timeout_seconds = 30
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "etc" / "config.toml"


def written(file: Path, text: str, **more: object) -> Loaded:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return load(file, environ={}, current=file.parent, **more)  # type: ignore[arg-type]


def faults_of(file: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    with pytest.raises(ConfigurationInvalid) as caught:
        load(file, environ=environ or {}, current=file.parent)
    return [f"{one.where}: {one.what} {one.hint}".strip() for one in caught.value.faults]


def test_without_a_file_all_values_are_defaults(tmp_path: Path) -> None:
    loaded = load(None, environ={}, current=tmp_path)

    assert loaded.path is None
    assert loaded.settings.llm == Settings().llm.__class__(
        system_prompt_file=str(tmp_path / "prompts/system.md")
    )
    assert {"default"} == {str(origin) for origin in loaded.origins.values()}
    assert set(settings()) == set(loaded.origins)


def test_the_guides_file_loads_unchanged_and_names_the_database(file: Path) -> None:
    loaded = written(file, GUIDE)

    assert f"sqlite:{file.parent}/var/memory.db" == loaded.settings.store.url
    assert "config.toml:6" == str(loaded.origins["store.url"])
    assert 30.0 == loaded.settings.mcp.timeout_seconds
    assert isinstance(loaded.settings.mcp.timeout_seconds, float)


def test_store_url_wins_over_the_guides_database(file: Path) -> None:
    loaded = written(file, GUIDE + '[store]\nurl = "sqlite:own.db"\n')

    assert f"sqlite:{file.parent}/var/own.db" == loaded.settings.store.url


def test_flag_wins_over_environment_over_file_over_default(file: Path) -> None:
    file.parent.mkdir()
    file.write_text('[server]\nport = 1\nhost = "file"\ndata_dir = "file"\n')
    environ = {"AGENCY_SERVER__PORT": "2", "HOST": "env"}

    loaded = load(file, environ=environ, flags={"server.port": "3"}, current=file.parent)

    assert 3 == loaded.settings.server.port
    assert "flag --port" == str(loaded.origins["server.port"])
    assert "env" == loaded.settings.server.host
    assert "env HOST" == str(loaded.origins["server.host"])
    assert "config.toml:4" == str(loaded.origins["server.data_dir"])
    assert "default" == str(loaded.origins["server.grace_s"])


def test_own_variable_wins_over_its_alias(tmp_path: Path) -> None:
    environ = {"AGENCY_SERVER__PORT": "2", "PORT": "1"}

    loaded = load(None, environ=environ, current=tmp_path)

    assert 2 == loaded.settings.server.port


def test_empty_alias_counts_as_absent(tmp_path: Path) -> None:
    loaded = load(None, environ={"PORT": "", "HOST": ""}, current=tmp_path)

    assert 8080 == loaded.settings.server.port
    assert "127.0.0.1" == loaded.settings.server.host


def test_aliases_of_the_guide_are_known(tmp_path: Path) -> None:
    environ = {"AGENT_LOG_LEVEL": "DEBUG", "OLLAMA_URL": "http://h:1", "AGENT_MODEL": "m"}

    loaded = load(None, environ=environ, current=tmp_path)

    assert "debug" == loaded.settings.logging.level
    assert "http://h:1" == loaded.settings.llm.base_url
    assert "m" == loaded.settings.llm.model


def test_variables_of_the_command_line_are_no_settings(tmp_path: Path) -> None:
    load(None, environ={"AGENCY_URL": "http://x", "AGENCY_TOKEN": "t"}, current=tmp_path)


def test_variable_with_one_line_too_few_is_a_fault_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        load(None, environ={"AGENCY_SERVER_PORT": "1"}, current=tmp_path)

    (fault,) = caught.value.faults
    assert "AGENCY_SERVER_PORT" == fault.where
    assert "Did you mean AGENCY_SERVER__PORT?" == fault.hint


def test_password_in_an_address_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        load(None, environ={"OLLAMA_URL": "http://me:s3cret@h:1"}, current=tmp_path)

    (fault,) = caught.value.faults
    assert "OLLAMA_URL" == fault.where
    assert "s3cret" not in fault.what + caught.value.message


def test_config_path_names_the_file_and_the_flag_wins_over_it(file: Path, tmp_path: Path) -> None:
    file.parent.mkdir()
    file.write_text("[server]\nport = 1\n")
    other = tmp_path / "other.toml"
    other.write_text("[server]\nport = 2\n")
    environ = {"CONFIG_PATH": "etc/config.toml"}

    assert 1 == load(None, environ=environ, current=tmp_path).settings.server.port
    assert 2 == load(other, environ=environ, current=tmp_path).settings.server.port


def test_config_toml_of_the_current_directory_is_taken_if_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[server]\nport = 1\n")

    loaded = load(None, environ={}, current=tmp_path)

    assert tmp_path / "config.toml" == loaded.path
    assert 1 == loaded.settings.server.port


def test_written_paths_start_at_the_file_and_typed_ones_at_the_current_directory(
    file: Path, tmp_path: Path
) -> None:
    file.parent.mkdir()
    file.write_text('[workflows]\npaths = ["flows", "/abs/one.py", "~/mine"]\n')
    environ = {"HOME": "/home/u", "AGENCY_LLM__REHEARSAL_SCRIPT": "script.toml"}

    loaded = load(file, environ=environ, flags={"server.data_dir": "data"}, current=tmp_path)

    assert [
        str(file.parent / "flows"),
        "/abs/one.py",
        "/home/u/mine",
    ] == loaded.settings.workflows.paths
    assert str(tmp_path / "script.toml") == loaded.settings.llm.rehearsal_script
    assert str(tmp_path / "data") == loaded.settings.server.data_dir
    assert f"sqlite:{tmp_path}/data/agency.db" == loaded.settings.store.url


def test_all_faults_are_reported_at_once_with_their_lines(file: Path) -> None:
    text = """\
model = "x"
[llm]
modle = "x"
num_ctx = "8k"
provider = "olama"
[server]
port = 80800
allowed_hosts = [
  1,
]
base_url = "x"
[stor]
[store]
url = "postgres://x"
[[memory]]
a = 1
"""
    environ = {"AGENCY_STOR__READERS": "4", "AGENCY_ENGINE__LINGER_S": "nan", "PORT": "a"}

    found = faults_of(file, text, environ)

    assert [
        "config.toml:1 model: There is no section [model]. 'model' is a setting of [llm] and "
        "[agents.default].",
        "config.toml:3 llm.modle: There is no setting 'modle' in [llm]. Did you mean 'model'?",
        "config.toml:4 llm.num_ctx: It must be a whole number, and is '8k'.",
        "config.toml:7 server.port: It must be 65535 or less, and is 80800.",
        "config.toml:8 server.allowed_hosts: It must be a list of texts, and is [1].",
        "config.toml:11 server.base_url: There is no setting 'base_url' in [server]. "
        "'base_url' is a setting of [llm] and [a2a].",
        "config.toml:12 stor: There is no section [stor]. Did you mean [store]?",
        "config.toml:15 memory: [memory] must be a section, and is [{'a': 1}].",
        "PORT: It must be a whole number, and is 'a'.",
        "AGENCY_ENGINE__LINGER_S: It must be a finite number, and is nan.",
        "AGENCY_STOR__READERS: No setting has this environment variable. "
        "Did you mean AGENCY_STORE__READERS?",
        "config.toml:14 store.url: It must be a database URL that begins with 'sqlite:', "
        "and is 'postgres://x'. For example 'sqlite:agency.db'.",
        "config.toml:5 llm.provider: It must be one of 'ollama', 'auto', 'rehearsal', "
        "and is 'olama'. Did you mean 'ollama'?",
    ] == found


def test_what_is_not_toml_is_reported_with_its_line(file: Path) -> None:
    assert "config.toml:2: This is not TOML" in faults_of(file, "[llm]\nmodel = \n")[0]


def test_what_is_not_utf_8_is_reported_with_its_line(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b'[llm]\nmodel = "\xff"\n')

    with pytest.raises(ConfigurationInvalid) as caught:
        load(file, environ={}, current=file.parent)

    assert ["config.toml:2"] == [one.where for one in caught.value.faults]


def test_file_with_a_byte_order_mark_and_windows_line_ends_loads(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"\xef\xbb\xbf[server]\r\nport = 1\r\n")

    loaded = load(file, environ={}, current=file.parent)

    assert 1 == loaded.settings.server.port
    assert "config.toml:2" == str(loaded.origins["server.port"])


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_named_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        load(Path(name), environ={}, current=tmp_path)

    assert 1 == len(caught.value.faults)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a, b ,", ["a", "b"]),
        ('["a,b", "c"]', ["a,b", "c"]),
        ("", []),
    ],
)
def test_lists_in_the_environment_are_comma_separated_or_json(
    tmp_path: Path, text: str, wanted: list[str]
) -> None:
    loaded = load(None, environ={"AGENCY_SERVER__ALLOWED_HOSTS": text}, current=tmp_path)

    assert wanted == loaded.settings.server.allowed_hosts


@pytest.mark.parametrize(("text", "wanted"), [("true", True), ("1", True), ("False", False)])
def test_truths_in_the_environment_have_several_spellings(
    tmp_path: Path, text: str, wanted: bool
) -> None:
    loaded = load(None, environ={"AGENCY_LLM__ALLOW_REMOTE": text}, current=tmp_path)

    assert wanted is loaded.settings.llm.allow_remote


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("AGENCY_SERVER__PORT", "8_080"),
        ("AGENCY_SERVER__PORT", "80.5"),
        ("AGENCY_SERVER__PORT", "-1"),
        ("AGENCY_SERVER__GRACE_S", "soon"),
        ("AGENCY_SERVER__GRACE_S", "inf"),
        ("AGENCY_LLM__ALLOW_REMOTE", "maybe"),
        ("AGENCY_LLM__BASE_URL", "localhost:11434"),
        ("AGENCY_LLM__BASE_URL", "http://h:0"),
        ("AGENCY_LLM__MODEL", " "),
        ("AGENCY_SERVER__DATA_DIR", ""),
        ("AGENCY_SERVER__ALLOWED_HOSTS", "[1"),
        ("AGENCY_STORE__SYNCHRONOUS", "OFF"),
        ("AGENCY_STORE__URL", "sqlite::memory:"),
        ("AGENCY_STORE__URL", "agency.db"),
        ("AGENCY_STORE__URL", "sqlite:a.db?mode=rwc"),
    ],
)
def test_unsuitable_text_is_refused_with_the_variable_named(
    tmp_path: Path, variable: str, text: str
) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        load(None, environ={variable: text}, current=tmp_path)

    assert [variable] == [one.where for one in caught.value.faults]


@pytest.mark.parametrize("value", ["true", "1.0", '"8080"', "[8080]"])
def test_port_in_the_file_must_be_a_whole_number(file: Path, value: str) -> None:
    found = faults_of(file, f"[server]\nport = {value}\n")

    assert found[0].startswith("config.toml:2 server.port: It must be a whole number")
