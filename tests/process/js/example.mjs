// The JavaScript examples of the API reference; only the base URL and the key are others.
import OpenAI from 'openai';

const baseURL = process.env.BASE_URL;
const apiKey = process.env.API_KEY;
const openai = new OpenAI({ baseURL, apiKey });

const completion = await openai.chat.completions.create({
  messages: [{ role: 'user', content: 'Hello!' }],
  model: 'gpt-4o-mini',
});
console.log('chat:', completion.choices[0].message.content);

const stream = await openai.chat.completions.create({
  model: 'gpt-4o-mini',
  messages: [{ role: 'user', content: 'Tell me a story' }],
  stream: true,
});
process.stdout.write('stream: ');
for await (const chunk of stream) {
  process.stdout.write(chunk.choices[0]?.delta?.content || '');
}
console.log();

async function fetched() {
  const response = await fetch(`${baseURL}/chat/completions`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${apiKey}` },
    body: JSON.stringify({
      model: 'gpt-4o-mini',
      messages: [{ role: 'user', content: 'Tell me a joke' }],
      stream: true,
    }),
  });
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let said = '';
  while (true) {
    const { done, value } = await reader.read();
    if (done) break;
    for (const line of decoder.decode(value).split('\n')) {
      if (line.startsWith('data: ')) {
        const data = line.slice(6);
        if (data === '[DONE]') return said;
        try {
          said += JSON.parse(data).choices[0]?.delta?.content || '';
        } catch (e) {
          // Skip invalid JSON
        }
      }
    }
  }
  throw new Error('the stream ended without [DONE]');
}
console.log('fetch:', await fetched());

const embedding = await openai.embeddings.create({
  model: 'text-embedding-ada-002',
  input: 'Text to embed',
});
console.log('embedding:', embedding.data[0].embedding.length, 'numbers,', typeof embedding.data[0].embedding[0]);

try {
  await openai.chat.completions.create({ model: 'nothing', messages: [{ role: 'user', content: 'x' }] });
} catch (error) {
  console.log('error:', error.constructor.name, error.status, error.code);
}
