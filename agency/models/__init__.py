"""Model providers: Ollama, the rehearsal stand-in, and the lane in front of them."""
