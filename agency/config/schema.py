"""The only list of settings: one frozen dataclass per section.

Each field's ``help`` is the comment that ``config.toml`` and the reference page are generated from.
Units are in the names: ``_s`` seconds, ``_bytes`` bytes, ``_max`` an upper bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from agency.core.names import DEFAULT_AGENT, DEFAULT_QUEUE
from agency.core.records import dataclass


def setting(default: Any, help: str, **more: Any) -> Any:  # noqa: ANN401  dataclass field
    """Make a field with its comment; a default list or table is copied for each instance.

    ``more`` may hold ``minimum``, ``maximum``, ``aliases`` (environment variables beside
    ``AGENCY_SECTION__KEY``), ``is_required`` (an empty text is refused) and ``form``: ``path``
    (made absolute when it is loaded), ``url`` (http or https) or ``database`` (a database URL);
    of a list of texts also ``choices``.
    """
    metadata = {"help": help, **more}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The process and its HTTP side."""

    host: str = setting("127.0.0.1", "Address to listen on.", aliases=("HOST",), is_required=True)
    port: int = setting(
        8080, "Port to listen on; 0 takes a free one.", minimum=0, maximum=65535, aliases=("PORT",)
    )
    data_dir: str = setting(
        "var",
        "Folder of the database, backups, tokens and files; relative to the configuration.",
        form="path",
        is_required=True,
    )
    allowed_hosts: list[str] = setting(
        [], "Further host names that requests may be addressed to; needs an API token."
    )
    sync_wait_s: float = setting(
        120.0, "Longest wait of a synchronous request; then it answers 202.", minimum=0
    )
    body_bytes_max: int = setting(1 << 20, "Largest request body.", minimum=1024)
    connections_max: int = setting(4096, "Open HTTP connections at most.", minimum=16)
    streams_max: int = setting(1024, "Open streams of updates at most.", minimum=1)
    heartbeat_s: float = setting(
        15.0, "A stream of updates gives a sign of life after so long without one.", minimum=0.1
    )
    grace_s: float = setting(
        30.0, "Time for steps to finish when the daemon is asked to stop.", minimum=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Where everything is kept."""

    url: str = setting(
        "",
        "Database, for example sqlite:agency.db in data_dir. Empty: [memory] database_url, "
        "else sqlite:agency.db.",
        form="database",
    )
    synchronous: Literal["FULL", "NORMAL"] = setting(
        "FULL", "FULL survives a power cut; NORMAL may lose the last commits in one."
    )
    backups_max: int = setting(5, "Copies kept of the database from before migrations.", minimum=1)
    free_bytes_min: int = setting(
        64 << 20, "Intake stops while the disk has less free than this.", minimum=0
    )
    readers: int = setting(2, "Connections for reading.", minimum=1, maximum=16)
    read_timeout_s: float = setting(30.0, "A read that takes longer is cut off.", minimum=0.1)
    log_bytes_max: int = setting(
        64 << 20, "Size at which the write-ahead log begins anew.", minimum=1 << 20
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """How runs are worked off."""

    runs_max: int = setting(256, "Runs that are worked on at once.", minimum=1)
    linger_s: float = setting(
        2.0, "A suspended run stays in memory this long, to go on without replay.", minimum=0
    )
    linger_runs_max: int = setting(256, "Suspended runs in memory at most.", minimum=0)
    step_threads: int = setting(8, "Threads for steps that are plain functions.", minimum=1)
    step_processes: int = setting(
        2, 'Processes at once for steps with isolation="process".', minimum=1
    )
    journal_entries_max: int = setting(
        100_000, "Entries of one run's journal; a warning is logged at 80 %.", minimum=100
    )
    memory_delay_s: float = setting(
        5.0, "Retry delays up to this are slept in memory, longer ones are stored.", minimum=0
    )
    resource_poll_s: float = setting(
        2.0, "How often a missing model server is looked for while runs wait for it.", minimum=0.1
    )
    topic_keep_s: float = setting(
        604_800.0,
        "How long events of topics are kept for waits to come; requests may ask for less.",
        minimum=1,
    )
    topic_events_max: int = setting(
        10_000, "Events that one topic keeps; more are refused until some are taken.", minimum=1
    )
    topic_bytes_max: int = setting(
        64 << 20, "Bytes of the payloads that one topic keeps.", minimum=1024
    )
    suspect_alone_s: float = setting(
        10.0, "A run that was claimed in two crashes in a row runs alone this long.", minimum=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Where runs wait, one section for each queue; a section makes the queue."""

    concurrency: int = setting(
        0, "Runs of the queue that are worked on at once; 0 leaves it to runs_max.", minimum=0
    )
    rate: float = setting(
        0.0, "Runs taken up in rate_period_s, retries and resumptions included; 0: any.", minimum=0
    )
    rate_period_s: float = setting(
        1.0, "Period of the rate; unused rate of up to one period is kept.", minimum=0.001
    )
    size_max: int = setting(
        1_000_000, "Pending runs from which new ones are refused; 0: any number.", minimum=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflows:
    """Where authors' workflows are."""

    paths: list[str] = setting(
        [],
        "Python files, or folders whose *.py are loaded; relative to the configuration.",
        form="path",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Llm:
    """The language model."""

    provider: str = setting(
        "ollama",
        "ollama, auto, rehearsal, or NAME of a section [providers.NAME]. ollama never gives way to "
        "the stand-in; auto takes Ollama if it answers at start, else the rehearsal stand-in (and "
        "says so); rehearsal always answers by itself, for all providers.",
        is_required=True,
    )
    model: str = setting(
        "llama3.2:latest", "Default model.", aliases=("AGENT_MODEL",), is_required=True
    )
    base_url: str = setting(
        "http://localhost:11434",
        "Address of Ollama.",
        aliases=("OLLAMA_URL",),
        form="url",
        is_required=True,
    )
    num_ctx: int = setting(8192, "Context length in tokens, sent with every call.", minimum=256)
    tokens_max: int = setting(0, "Longest answer in tokens; 0 leaves it to the model.", minimum=0)
    keep_alive: str = setting("5m", "How long the server keeps the model loaded after a call.")
    preload: bool = setting(
        default=False,
        help="Have Ollama load the default model when the daemon starts, so that the first call "
        "does not wait for it.",
    )
    concurrency: int = setting(1, "Calls to one model at once.", minimum=1)
    load_timeout_s: float = setting(
        300.0, "Longest wait for the server to load the model and begin to answer.", minimum=1
    )
    first_token_timeout_s: float = setting(
        120.0, "Longest wait for the first token after the answer began.", minimum=1
    )
    between_tokens_timeout_s: float = setting(60.0, "Longest pause between tokens.", minimum=1)
    total_timeout_s: float = setting(1800.0, "Longest call as a whole.", minimum=1)
    allow_remote: bool = setting(
        default=False, help="Allow models that Ollama passes on to the cloud."
    )
    rehearsal_script: str = setting(
        "",
        "File with scripted answers for rehearsal; empty for its own.",
        form="path",
    )
    system_prompt: str = setting(
        "", "System prompt of the agent; empty: the file prompts/system.md, if there is one."
    )
    system_prompt_file: str = setting(
        "prompts/system.md",
        "Read again when it changes; relative to the configuration.",
        form="path",
    )
    history_messages_max: int = setting(
        40, "Messages of a session that go into a prompt.", minimum=1
    )
    max_steps: int = setting(10, "Model turns of one run, if the request names none.", minimum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProvider:
    """A further model server, one section for each: models there are called NAME/MODEL."""

    kind: Literal["ollama", "openai", "anthropic"] = setting(
        "openai",
        "What it speaks: openai is also spoken by llama.cpp, vLLM, LM Studio and most others.",
    )
    base_url: str = setting(
        "",
        "Address, with the path before /chat/completions for openai, for example "
        "http://localhost:8000/v1; empty for the usual one of ollama and anthropic.",
        form="url",
    )
    api_key: str = setting(
        "",
        "Where the key is: secret://NAME in the vault, or env://VARIABLE; never the key itself.",
        form="secret",
    )
    headers: list[str] = setting(
        [],
        "Further headers, NAME: VALUE each; a value that is secret is secret://NAME or "
        "env://VARIABLE.",
        form="header",
    )
    num_ctx: int = setting(
        0,
        "Context length in tokens; 0: as the server says, for ollama as in [llm].",
        minimum=0,
    )
    tokens_max: int = setting(
        0, "Longest answer in tokens; 0: as in [llm]. Anthropic always needs one.", minimum=0
    )
    concurrency: int = setting(1, "Calls to one model at once.", minimum=1)
    structured: Literal["json_schema", "json_object", "none"] = setting(
        "json_schema",
        "How a server of kind openai is asked for answers that obey a schema.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRoles:
    """Models by what they are asked for: the first that can answer does, recorded with the call."""

    chat: list[str] = setting(
        [],
        "For conversations, MODEL or PROVIDER/MODEL, in order of fallback; empty: [llm] model.",
    )
    tools: list[str] = setting([], "When tools are offered; empty: as chat.")
    vision: list[str] = setting(
        [], "For questions about pictures; empty: agents have no tool to look at them."
    )
    embed: list[str] = setting([], "For embeddings; empty: [memory] embedding_model.")
    compaction: list[str] = setting([], "For summaries of old turns; empty: as chat.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent, one section for each; what it does not say is as in ``[llm]``."""

    description: str = setting("", "What it is for, one sentence.")
    model: str = setting("", "Model, or PROVIDER/MODEL; empty: as [llm] and the roles say.")
    system_prompt: str = setting(
        "", "System prompt; empty: the file below, else the prompt of [llm]."
    )
    system_prompt_file: str = setting(
        "", "File with the system prompt, read again when it changes.", form="path"
    )
    tools: list[str] = setting(
        ["*"],
        "Tools that it may use: names, names of toolsets or MCP servers, patterns; empty: none.",
    )
    allow: list[str] = setting(
        [],
        'Calls that need no approval: "tool", "tool(pattern)" or "tool(argument=pattern)", for '
        'example "shell(git status*)". What is not listed is as the tool says.',
    )
    ask: list[str] = setting([], "Calls that wait for approval, of the same form.")
    deny: list[str] = setting([], "Calls that are refused, of the same form; this one wins.")
    turns: int = setting(0, "Model turns of a run; 0: [llm] max_steps.", minimum=0)
    tokens: int = setting(0, "Tokens of a run, prompts included; 0: any number.", minimum=0)
    seconds: float = setting(
        0.0, "Seconds of a run's calls to models and tools; waiting is free; 0: any.", minimum=0
    )
    tool_calls: int = setting(0, "Tool calls of a run; 0: any number.", minimum=0)
    tools_per_turn: int = setting(
        0, "Tools offered in one turn, the rest is found by search; 0: by the model.", minimum=0
    )
    workflows: list[str] = setting([], "Workflows that it may start; empty: none.")
    delegation_depth: int = setting(
        2, "How deep sub-agents may be nested; 0: it has none.", minimum=0, maximum=8
    )
    sandbox: list[str] = setting(
        [],
        "What the sandbox must enforce for any of its commands: file_read, file_write, network, "
        "processes, memory, system_calls.",
        choices=("file_read", "file_write", "network", "processes", "memory", "system_calls"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Long-term memory of agents."""

    database_url: str = setting(
        "", "Names the one database when [store] url is empty.", form="database"
    )
    embedding_model: str = setting(
        "nomic-embed-text",
        "Model for embeddings, MODEL or PROVIDER/MODEL; what has vectors of another one keeps "
        "them until `agency memory reembed`.",
        is_required=True,
    )
    tools: bool = setting(default=True, help="Offer agents tools to remember and recall.")
    isolation: Literal["agent", "principal", "session"] = setting(
        "agent",
        "Who shares an agent's memory: all its runs, those for one caller, or those in one "
        "session. What was remembered otherwise is not seen after a change.",
    )
    core_characters_max: int = setting(
        2000, "Characters of one block of core memory, which is part of each prompt.", minimum=100
    )
    facts_max: int = setting(10_000, "Facts of one memory.", minimum=1)
    recall_results: int = setting(
        6, "Results of a question to memory, if it names no number.", minimum=1, maximum=50
    )
    document_bytes_max: int = setting(8 << 20, "Largest document of a notebook.", minimum=1024)
    documents_max: int = setting(10_000, "Documents of one notebook.", minimum=1)
    chunk_tokens: int = setting(
        350, "Tokens of one piece of a document, about.", minimum=50, maximum=4000
    )
    chunk_overlap_tokens: int = setting(
        50, "Tokens that are repeated in the next piece at the most.", minimum=0, maximum=1000
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mcp:
    """The MCP door, and tools from MCP servers, each of which has a section [mcp.servers.NAME]."""

    server_url: str = setting(
        "",
        "Address of an MCP server: the connection `mcp`, without a section of its own.",
        form="url",
    )
    timeout_seconds: float = setting(30.0, "Longest call to a tool.", minimum=0.1, maximum=86_400)
    connect_timeout_s: float = setting(
        30.0, "Longest time for a server to start and to list its tools.", minimum=0.1
    )
    concurrency: int = setting(8, "Calls to one server at once.", minimum=1, maximum=64)
    allow_private: list[str] = setting(
        [],
        "Private places (host, address or network, each with :port if only that one is meant) that "
        "connections added over REST may lead to, and servers that say where to log in.",
    )
    login_url: str = setting(
        "",
        "Address under which browsers reach this daemon after a login at a server's; empty: "
        "http://127.0.0.1 with its port.",
        form="url",
    )
    serve: bool = setting(default=True, help="Serve MCP at /mcp.")
    serve_sessions_max: int = setting(
        1000,
        "Sessions of MCP clients at once; those of protocol 2026-07-28 need none.",
        minimum=1,
        maximum=100_000,
    )
    serve_session_idle_s: float = setting(
        1800.0, "A session in which nothing is asked for so long ends.", minimum=1, maximum=86_400
    )
    serve_streams_max: int = setting(
        1000, "Subscriptions to changes at once.", minimum=1, maximum=100_000
    )
    call_wait_s: float = setting(
        45.0,
        "A call to a workflow that takes longer is answered with where its run is; most clients "
        "give up after 60 s.",
        minimum=0.1,
        maximum=86_400,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class McpServer:
    """An MCP server, one section for each: a program, or an address."""

    command: str = setting("", "Program that is started and talked with over stdin and stdout.")
    args: list[str] = setting([], "Its arguments.")
    env: dict[str, str] = setting(
        {}, "Its environment, beside PATH and the like; secrets as secret://NAME."
    )
    cwd: str = setting(
        "",
        "Folder that it starts in, and the one that it may write in the sandbox; empty: one of its "
        "own in data_dir.",
        form="path",
    )
    readable: list[str] = setting(
        [], "Further files and folders that it may read in the sandbox.", form="path"
    )
    hosts: list[str] = setting(
        [], "Hosts (name or name:port) that it may connect to from the sandbox; none: no network."
    )
    sandbox: bool = setting(default=True, help="Run the program in the sandbox.")
    url: str = setting("", "Address of a server that is spoken with over HTTP.", form="url")
    headers: dict[str, str] = setting({}, "Headers that are sent to it; secrets as secret://NAME.")
    oauth: str = setting(
        "login",
        "How a token for the server is come by, when it demands one and headers has none: a person "
        "logs in (login), the daemon does so with a secret or key (client_credentials), or neither "
        "(off).",
        choices=("login", "client_credentials", "off"),
    )
    oauth_client_id: str = setting(
        "",
        "Client that is registered where the tokens are issued, or the https address of a document "
        "that describes it; empty: one is registered.",
    )
    oauth_client_secret: str = setting("", "Its secret, as secret://NAME.")
    oauth_key: str = setting("", "Its private key in PEM, as secret://NAME.")
    oauth_algorithm: str = setting("", "What is signed with the key by; empty: as it is usual.")
    oauth_scopes: list[str] = setting([], "What is asked for; empty: what the server demands.")
    oauth_issuer: str = setting(
        "",
        "The one authorization server that will do; needed with a secret or key.",
        form="url",
    )
    enabled: bool = setting(default=True, help="Open the connection.")
    timeout_s: float = setting(
        0.0, "Longest call; 0: [mcp] timeout_seconds.", minimum=0, maximum=86_400
    )
    timeouts_s: dict[str, str] = setting({}, "The same in seconds for single tools, by name.")
    concurrency: int = setting(0, "Calls at once; 0: [mcp] concurrency.", minimum=0, maximum=64)
    trust_hints: bool = setting(
        default=False,
        help="Let what the server says of its tools (this one only reads) loosen what holds.",
    )
    allow: list[str] = setting([], "Tools (its names, with * and ?) that need no approval.")
    ask: list[str] = setting([], "Tools that wait for approval; without a rule, all do.")
    deny: list[str] = setting([], "Tools that are refused; this wins.")
    repeatable: list[str] = setting(
        [], "Tools whose interrupted calls are made again instead of asked about."
    )
    once: list[str] = setting([], "Tools whose interrupted calls are asked about; this wins.")
    elicitation: bool = setting(default=True, help="It may ask people in the middle of a call.")
    sampling: bool = setting(default=True, help="It may ask the run's model.")
    roots: bool = setting(default=False, help="Tell it the folder of the run.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Tools of our own, and the files of runs."""

    files: bool = setting(default=True, help="Offer tools that read and change files.")
    shell: bool = setting(default=True, help="Offer tools that run shell commands.")
    python: bool = setting(default=True, help="Offer a tool that runs Python.")
    fetch: bool = setting(default=True, help="Offer a tool that makes HTTP requests.")
    packages: bool = setting(
        default=True, help="Offer a tool that installs packages, if package_index is set."
    )
    notes: bool = setting(default=True, help="Offer a tool that takes notes.")
    workspace_bytes_max: int = setting(
        256 << 20, "Bytes of all files of one run that are kept.", minimum=1024
    )
    workspace_files_max: int = setting(
        10_000, "Files and folders of one run that are kept.", minimum=1
    )
    command_needs: list[str] = setting(
        ["file_read", "file_write", "network", "processes"],
        "What the sandbox must enforce before a command is run: file_read, file_write, network, "
        "processes, memory, system_calls. Less than the first three makes commands wait for "
        "approval.",
        choices=("file_read", "file_write", "network", "processes", "memory", "system_calls"),
    )
    command_timeout_s: float = setting(120.0, "Longest command in the foreground.", minimum=1)
    background_timeout_s: float = setting(
        14_400.0, "Longest command in the background; it ends with its run anyway.", minimum=1
    )
    command_output_bytes_max: int = setting(
        1 << 20, "Output of a command that is kept; the middle of more is dropped.", minimum=1024
    )
    command_hosts: list[str] = setting(
        [], "Hosts (name or name:port) that commands may connect to; none: no network."
    )
    commands_max: int = setting(8, "Commands of one run in the background at once.", minimum=1)
    python_path: str = setting(
        "",
        "Python that runs code and makes environments; empty: the daemon's own.",
        form="path",
    )
    fetch_allow: list[str] = setting(
        [],
        "Hosts (name, address or network) that may be fetched although they are private.",
    )
    fetch_bytes_max: int = setting(4 << 20, "Largest answer that is read.", minimum=1024)
    fetch_timeout_s: float = setting(30.0, "Longest request, redirects included.", minimum=1)
    package_index: str = setting(
        "", "Address of the Python package index to install from; empty: none.", form="url"
    )
    package_hosts: list[str] = setting([], "Further hosts that the index hands files out from.")
    legs_allow: list[str] = setting(
        [],
        "Tools (name or pattern) that legs of sagas may call although an agent would ask first.",
    )
    result_characters_max: int = setting(
        8000,
        "A longer result is cut to head and tail; the whole is in a file of the run.",
        minimum=500,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """Secrets, stored encrypted."""

    key_file: str = setting(
        "",
        "File of the key, made when it is first needed; empty: vault.key in data_dir.",
        form="path",
    )
    credentials_dir: str = setting(
        "",
        "Folder with the credential agency-vault-key, which comes before key_file; systemd names "
        "it in CREDENTIALS_DIRECTORY.",
        aliases=("CREDENTIALS_DIRECTORY",),
        form="path",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Logging:
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "Lowest level that is logged.", aliases=("AGENT_LOG_LEVEL",)
    )
    format: Literal["auto", "text", "json"] = setting(
        "auto", "auto: text on a terminal, JSON lines elsewhere."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What is kept of what has ended. Everywhere 0 is no limit: it is kept."""

    interval_s: float = setting(3600.0, "How often it is looked for what has expired.", minimum=1)
    completed_age_s: float = setting(
        30 * 86400.0, "Completed runs are kept this long after their end.", minimum=0
    )
    completed_runs_max: int = setting(0, "Newest completed runs that are kept.", minimum=0)
    completed_bytes_max: int = setting(
        0, "Newest completed runs are kept up to this size in all.", minimum=0
    )
    failed_age_s: float = setting(
        90 * 86400.0, "The same for runs that failed, timed out or were compensated.", minimum=0
    )
    failed_runs_max: int = setting(0, "Newest failed runs that are kept.", minimum=0)
    failed_bytes_max: int = setting(
        0, "Newest failed runs are kept up to this size in all.", minimum=0
    )
    dead_letter_age_s: float = setting(
        0.0,
        "The same for dead letters and failed compensations, which wait for somebody.",
        minimum=0,
    )
    dead_letter_runs_max: int = setting(0, "Newest dead letters that are kept.", minimum=0)
    dead_letter_bytes_max: int = setting(
        0, "Newest dead letters are kept up to this size in all.", minimum=0
    )
    cancelled_age_s: float = setting(30 * 86400.0, "The same for cancelled runs.", minimum=0)
    cancelled_runs_max: int = setting(0, "Newest cancelled runs that are kept.", minimum=0)
    cancelled_bytes_max: int = setting(
        0, "Newest cancelled runs are kept up to this size in all.", minimum=0
    )
    snapshots_age_s: float = setting(
        0.0, "Snapshots are kept this long; the newest of a live run always.", minimum=0
    )
    snapshots_per_run_max: int = setting(
        0, "Newest snapshots that are kept of each run.", minimum=0
    )
    sessions_age_s: float = setting(
        0.0, "Sessions without runs are kept this long after their last message.", minimum=0
    )
    batch_runs: int = setting(100, "Runs that are deleted in one transaction.", minimum=1)
    batch_rows: int = setting(
        2000, "Rows after which a transaction begins no other run.", minimum=1
    )
    pause_s: float = setting(
        0.02, "Pause between two transactions, in which others have their turn.", minimum=0
    )


_CAPABILITIES = ("file_read", "file_write", "network", "processes", "memory", "system_calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """Where commands of tools run, and how much they may use."""

    driver: Literal["auto", "bubblewrap", "landlock", "sandbox-exec", "none"] = setting(
        "auto",
        "auto takes the best that this machine proves to enforce, and never none; none protects "
        "from nothing.",
    )
    bubblewrap: str = setting(
        "", "The program bwrap; empty: it is looked for in PATH.", form="path"
    )
    require: list[str] = setting(
        [],
        "What must be enforced: else the daemon does not start. file_read, file_write, network, "
        "processes, memory, system_calls.",
        choices=_CAPABILITIES,
    )
    partial: list[str] = setting(
        ["file_write", "processes", "memory"],
        "Where a partial bound suffices for tools that need one.",
        choices=_CAPABILITIES,
    )
    readable: list[str] = setting(
        [],
        "Files and folders that all commands may read, beside the system's own.",
        form="path",
    )
    private_hosts: list[str] = setting(
        [],
        "Hosts (name, address or network, with :port) that commands with network may reach "
        "although their addresses are private.",
    )
    commands_max: int = setting(16, "Commands in the foreground at once; more wait.", minimum=1)
    memory_bytes_max: int = setting(1 << 30, "Memory of one command.", minimum=16 << 20)
    processes_max: int = setting(128, "Processes and threads of one command.", minimum=8)
    cpu_s_max: float = setting(600.0, "Processor time of one process of a command.", minimum=1)
    file_bytes_max: int = setting(1 << 30, "Largest file that a command writes.", minimum=1 << 16)
    tmp_bytes_max: int = setting(
        256 << 20, "Size of the private /tmp of one command (bubblewrap).", minimum=1 << 20
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """What other programs may start over A2A and MCP."""

    agents: list[str] = setting(["*"], "Names of agents, or patterns; empty: none.")
    workflows: list[str] = setting(
        ["*"], "Names of workflows that are not built in, or patterns; empty: none."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class A2a:
    """The A2A door: agents and workflows as A2A agents, and their cards."""

    enabled: bool = setting(default=True, help="Serve A2A at /a2a/NAME.")
    v03: bool = setting(default=True, help="Serve version 0.3 of the protocol beside 1.0.")
    default_agent: str = setting(
        "",
        "Whose card is at /.well-known/agent-card.json; empty: the agent `default`, else the "
        "first by name.",
    )
    base_url: str = setting(
        "",
        "Address under which others reach this daemon, for the cards; empty: as they have asked.",
        form="url",
    )
    grpc_port: int = setting(
        0,
        "Port for A2A over gRPC, which needs `pip install agency[grpc]`; 0: none.",
        minimum=0,
        maximum=65535,
    )
    provider_name: str = setting("", "Organisation that the cards name; empty: none.")
    provider_url: str = setting("", "Its address.", form="url")
    documentation_url: str = setting("", "Documentation that the cards name.", form="url")
    icon_url: str = setting("", "Picture that the cards name.", form="url")
    extended_card: bool = setting(
        default=True,
        help="Tell those who show a token more: tools of agents, shapes of input and output.",
    )
    card_max_age_s: int = setting(300, "A card may be kept for so long.", minimum=0)
    signing_key: str = setting(
        "", "Secret with the private key (P-256, PEM) that signs the cards: secret://NAME."
    )
    signing_key_file: str = setting("", "File with that key instead.", form="path")
    signing_key_id: str = setting("", "Name of the key in the signatures; empty: its thumbprint.")
    extensions: list[str] = setting(
        [], "URIs of extensions that the workflows understand; the cards name them."
    )
    required_extensions: list[str] = setting(
        [], "URIs of extensions without which no request is taken."
    )
    check_input_modes: bool = setting(
        default=False,
        help="Refuse messages with parts of a media type that the card does not name.",
    )
    push: bool = setting(
        default=True, help="Tell addresses that callers name of the changes of their tasks."
    )
    push_allow_private: list[str] = setting(
        [],
        "Private places (host, address or network, each with :port if only that one is meant) that "
        "may be such an address.",
    )
    allowed_peers: list[str] = setting(
        ["*"],
        "Peers (namespace:name:instance, or patterns of it) that may register and send messages to "
        "/a2a/message; empty: none.",
    )
    message_ids_count_once: bool = setting(
        default=True,
        help="A message that comes again with its id is taken once, as when its answer was lost; "
        "off for clients that use ids again.",
    )
    allowed_agents: list[str] = setting(
        [],
        "Hosts (name, *.name, address or network, each with :port if only that one is meant) whose "
        "agents may be called by their address; * means all that are public. Empty: only the "
        "[a2a.agents.NAME].",
    )
    hops_max: int = setting(
        5,
        "Calls from one system to the next that may lead to a call from here; more would mostly "
        "be a circle.",
        minimum=1,
        maximum=1000,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteAgent:
    """An agent of another system, one section for each: it may be called, and is a tool."""

    url: str = setting(
        "", "Its address; its card is looked for below it, unless it is that of a card.", form="url"
    )
    description: str = setting("", "What it is for, for models; empty: as its card says.")
    token: str = setting(
        "",
        "Where the bearer token that it is shown is: secret://NAME in the vault, or "
        "env://VARIABLE; never the token itself.",
        form="secret",
    )
    headers: list[str] = setting(
        [],
        "Further headers, NAME: VALUE each; a value that is secret is secret://NAME or "
        "env://VARIABLE.",
        form="header",
    )
    card_key: str = setting(
        "",
        "File with the public key (PEM) that its card must be signed with; empty: any card.",
        form="path",
    )
    timeout_s: float = setting(
        60.0,
        "Longest request; what it works on may take any time. An agent that answers a message only "
        "when it is done, and not at once, needs as long as its work.",
        minimum=0.1,
        maximum=86_400,
    )
    repeatable: bool = setting(
        default=True,
        help="Send a message again, under the same id, that may not have arrived; false asks "
        "somebody first.",
    )
    permission: Literal["allow", "ask", "deny"] = setting(
        "ask", "Whether agents may call it, where their own rules say nothing."
    )
    enabled: bool = setting(default=True, help="It may be called.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, checked and frozen."""

    server: Server = field(default_factory=Server)
    store: Store = field(default_factory=Store)
    engine: Engine = field(default_factory=Engine)
    queues: Mapping[str, Queue] = field(default_factory=lambda: {DEFAULT_QUEUE: Queue()})
    workflows: Workflows = field(default_factory=Workflows)
    llm: Llm = field(default_factory=Llm)
    providers: Mapping[str, ModelProvider] = field(default_factory=dict)
    roles: ModelRoles = field(default_factory=ModelRoles)
    agents: Mapping[str, Agent] = field(default_factory=lambda: {DEFAULT_AGENT: Agent()})
    memory: Memory = field(default_factory=Memory)
    mcp: Mcp = field(default_factory=Mcp)
    mcp_servers: Mapping[str, McpServer] = field(default_factory=dict)
    vault: Vault = field(default_factory=Vault)
    retention: Retention = field(default_factory=Retention)
    sandbox: Sandbox = field(default_factory=Sandbox)
    tools: Tools = field(default_factory=Tools)
    publish: Publish = field(default_factory=Publish)
    a2a: A2a = field(default_factory=A2a)
    a2a_agents: Mapping[str, RemoteAgent] = field(default_factory=dict)
    features: Mapping[str, bool] = field(default_factory=dict)
    """Workflows that are switched off or on, by name; see `agency.config.catalogue`."""
    logging: Logging = field(default_factory=Logging)
