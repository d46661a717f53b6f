"""Servers that speak OpenAI's chat completions: llama.cpp, vLLM, LM Studio and others."""
