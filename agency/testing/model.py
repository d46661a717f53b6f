"""A model that says what the test wants."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agency.config.schema import Llm
from agency.core import json
from agency.errors import InvalidInput, ModelUnavailable
from agency.models.rehearsal import RehearsalProvider, Script, load_script
from agency.models.rehearsal.script import FAILURES, Condition, Rule
from agency.ports.model import CallProgress, ChatReply, ChatRequest, Health, ToolCall


class ScriptedModel(RehearsalProvider):
    """A provider that answers by rules, the first that applies; without one, as the rehearsal does.

    Attributes:
        requests: What was asked of it, oldest first.
        is_away: Nobody answers: runs that need the model wait until it is False again.
    """

    def __init__(self, settings: Llm | None = None) -> None:
        """Begin without rules."""
        self._rules: list[Rule] = []
        super().__init__(settings or Llm(provider="rehearsal"), Script(rules=self._rules))
        self.requests: list[ChatRequest] = []
        self.is_away = False

    def reply(
        self,
        text: str | Mapping[str, Any],
        *,
        when: str | re.Pattern[str] | None = None,
        times: int = 0,
    ) -> None:
        """Answer with ``text``.

        Args:
            text: The answer; a mapping is written as JSON.
            when: Text inside the last user message, upper and lower case being the same, or a
                regular expression that is searched in it; by default any message.
            times: How often the rule is used at most; 0 for ever.
        """
        said = text if isinstance(text, str) else json.encode(dict(text)).decode()
        self._add(when, times, reply=said)

    def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        when: str | re.Pattern[str] | None = None,
        times: int = 0,
    ) -> None:
        """Answer by calling a tool; `reply` has the other arguments."""
        self._add(when, times, tool_calls=(ToolCall(name=name, arguments=dict(arguments or {})),))

    def fail(self, code: str, *, when: str | re.Pattern[str] | None = None, times: int = 1) -> None:
        """Fail as a real server might; `reply` has the other arguments.

        Args:
            code: ``model_unavailable``, ``model_busy``, ``model_timed_out`` …, as in a script.
            times: How often, 1 by default; 0 for ever.

        Raises:
            InvalidInput: there is no such failure.
        """
        if code not in FAILURES:
            raise InvalidInput(f"A model does not fail with {code!r}.", hint=", ".join(FAILURES))
        self._add(when, times, fail=code)

    def follow(self, script: Path | str) -> None:
        """Take the rules of a script file, as ``[llm] rehearsal_script`` does.

        Raises:
            ConfigurationInvalid: the file cannot be read or has faults.
        """
        self._rules += load_script(Path(script)).rules

    async def chat(
        self,
        request: ChatRequest,
        *,
        on_token: Callable[[str], None] | None = None,
        on_progress: Callable[[CallProgress], None] | None = None,
    ) -> ChatReply:
        """Answer by the rules; the errors are those of the port."""
        self.requests.append(request)
        if self.is_away:
            raise ModelUnavailable(self.resource, "the test has sent it away")
        return await super().chat(request, on_token=on_token, on_progress=on_progress)

    async def health(self) -> Health:
        """Tell whether it is there."""
        if self.is_away:
            return Health(reachable=False, reason="the test has sent it away")
        return await super().health()

    def _add(self, when: str | re.Pattern[str] | None, times: int, **answer: Any) -> None:  # noqa: ANN401  fields of a rule
        condition = Condition(contains=when) if isinstance(when, str) else Condition(matches=when)
        place = f"rule {len(self._rules) + 1} of the test"
        self._rules.append(Rule(place=place, when=condition, times=times, **answer))
