"""The step extract_tokens: frames and Stage I -> token store."""
