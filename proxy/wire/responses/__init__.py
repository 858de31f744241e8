"""The OpenAI Responses dialect, as Open Responses describes it too."""
