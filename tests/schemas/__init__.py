"""Whether replies and streams are what the published documents of the three APIs say they are.

validation      READ THIS FIRST: `problems` of one value, `stream_problems` of a whole stream
exceptions      where a document is wrong or two of them contradict each other, and what holds then
unions          the choice between branches, so that a problem names the field and not the union
frames          server-sent events out of bytes
chat_grammar  messages_grammar  responses_grammar  response_item
                in which order events may come, and what they repeat of each other
extract         makes the three JSON files from the documents
"""
