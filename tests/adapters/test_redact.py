import pytest

from moso.adapters.redact import redact


@pytest.mark.parametrize("name", ["password", "db.password", "aws_secret_access_key", "hf_token", "api-key", "apikey"])
def test_values_under_secret_names_are_masked(name):
    assert redact("hunter2", name) == "***"


@pytest.mark.parametrize("name", ["tokens", "extract_tokens.batch", "model.codebook_size", "key_frames", "token_grids"])
def test_names_of_the_method_are_no_secrets(name):
    assert redact("512", name) == "512"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://me:hunter2@db:5432/mlflow", "postgresql://***@db:5432/mlflow"),
        ("https://h/x?X-Amz-Signature=abc&y=1", "https://h/x?X-Amz-Signature=***&y=1"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("a@b.c", "a@b.c"),
    ],
)
def test_secrets_inside_addresses_are_masked(text, masked):
    assert redact(text) == masked
