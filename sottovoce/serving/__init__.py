"""`sottovoce serve`: recordings and streams over HTTP and WebSocket."""
