"""What the API's OpenAPI document promises, held against the API that runs."""
