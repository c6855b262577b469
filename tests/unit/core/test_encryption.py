"""Secrets at rest."""

import pytest
from cryptography.fernet import Fernet

from llamastack.encryption import UndecryptableSecret, _fernet, decrypt, encrypt, kept
from llamastack.home import home


def test_a_secret_comes_back_and_does_not_stand_in_its_cipher_text() -> None:
    stored = encrypt("sk-secret")
    assert stored.startswith("enc:v1:")
    assert "sk-secret" not in stored
    assert decrypt(stored) == "sk-secret"


def test_what_is_encrypted_is_not_encrypted_again() -> None:
    stored = encrypt("sk-secret")
    assert encrypt(stored) == stored


def test_another_key_opens_nothing_and_says_what_to_do() -> None:
    foreign = "enc:v1:" + Fernet(Fernet.generate_key()).encrypt(b"x").decode()
    with pytest.raises(UndecryptableSecret, match="LLAMA_STACK_SECRET_KEYS"):
        decrypt(foreign)


def test_keys_can_be_rotated(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    monkeypatch.setenv("LLAMA_STACK_SECRET_KEYS", old)
    _fernet.cache_clear()
    stored = encrypt("sk-secret")
    monkeypatch.setenv("LLAMA_STACK_SECRET_KEYS", f"{new},{old}")
    _fernet.cache_clear()
    assert decrypt(stored) == "sk-secret"
    monkeypatch.undo()
    _fernet.cache_clear()


def test_a_kept_secret_is_private_and_stays() -> None:
    first = kept("a_test_secret", lambda: "one")
    assert kept("a_test_secret", lambda: "two") == first == "one"
    assert (home() / "a_test_secret").stat().st_mode & 0o777 == 0o600
