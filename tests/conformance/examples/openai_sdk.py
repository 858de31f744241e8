from openai import OpenAI

client = OpenAI(base_url="https://your-proxy.workers.dev/v1", api_key="your-service-api-key")
# Chat completion
response = client.chat.completions.create(
    model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello, world!"}]
)
print(response.choices[0].message.content)
# Embeddings
embedding_response = client.embeddings.create(model="text-embedding-ada-002", input="Text to embed")
print(embedding_response.data[0].embedding)
