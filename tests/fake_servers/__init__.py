"""Faithful fakes of model servers that speak OpenAI's and Anthropic's protocols, over real HTTP."""

from tests.fake_servers.anthropic import FakeAnthropic
from tests.fake_servers.openai import FakeOpenAi
from tests.fake_servers.wire import Asked, Said

__all__ = ["Asked", "FakeAnthropic", "FakeOpenAi", "Said"]
