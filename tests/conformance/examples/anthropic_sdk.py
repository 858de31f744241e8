import anthropic

client = anthropic.Anthropic(base_url="https://your-proxy.workers.dev", api_key="your-service-api-key")
message = client.messages.create(
    model="claude-3-sonnet", max_tokens=100, messages=[{"role": "user", "content": "Hello, Claude!"}]
)
print(message.content)
