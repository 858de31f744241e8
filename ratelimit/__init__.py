"""How much is allowed; knows no LLM and no HTTP. The limiter itself arrives with limits over the cluster."""
