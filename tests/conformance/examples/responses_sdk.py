from openai import OpenAI

client = OpenAI(base_url="https://your-proxy.workers.dev/v1", api_key="your-service-api-key")

response = client.responses.create(model="gpt-4o-mini", instructions="Be brief.", input="Hello!")
print(response.output_text)

following = client.responses.create(
    model="gpt-4o-mini", previous_response_id=response.id, input="Tell me more", stream=True
)
for event in following:
    if event.type == "response.output_text.delta":
        print(event.delta, end="")
print()

print(client.responses.retrieve(response.id).status)
print(len(client.responses.input_items.list(response.id).data))
client.responses.delete(response.id)
